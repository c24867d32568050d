"""The blank of every plot: a matplotlib figure whose panels look alike, where matplotlib is installed.

Matplotlib is imported only when a plot is drawn; no window or global state is involved.
"""

from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#1f5a99", "#c0562b", "#2e7d4f", "#7a4a9e", "#8a6d1d", "#4d6470")
"""Of curves and bars, in turn."""


def can_plot() -> bool:
    """Whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def layout(count: int) -> tuple[int, int]:
    """Columns and rows of so many panels: at most three in a row, and four as a square.

    >>> layout(2), layout(4), layout(5)
    ((2, 1), (2, 2), (3, 2))
    """
    columns = 2 if count == 4 else max(1, min(3, count))
    return columns, -(-count // columns)


def canvas(
    title: str,
    *,
    inches: tuple[float, float],
    dpi: int = 120,
    points: float = 13.0,
    weight: Literal["bold", "normal"] = "bold",
) -> "Figure":
    """An empty figure.

    Args:
        title: over the whole.
        inches: width and height.
        dpi: pixels an inch, of formats that have pixels.
        points: size of the title.
        weight: of the title.

    Raises:
        ValueError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ValueError("plots need matplotlib: pip install matplotlib") from error
    figure = Figure(figsize=inches, dpi=dpi, layout="constrained")
    figure.suptitle(title, fontsize=points, fontweight=weight)
    return figure


def dress(panel: "Axes", heading: str, *, points: float = 10.5) -> None:
    """Heading, small numbers, no frame above and right."""
    panel.set_title(heading, fontsize=points, loc="left")
    panel.tick_params(labelsize=8)
    panel.spines[["top", "right"]].set_visible(False)


def rule(panel: "Axes", *, axis: Literal["both", "y"] = "both") -> None:
    """Pale lines behind the curves."""
    panel.grid(visible=True, axis=axis, color="#dddddd", linewidth=0.6)
    panel.set_axisbelow(True)
