"""Bars of milliseconds and lines of growth, as a picture beside the records."""

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from simflow.canvas import COLOURS, canvas, dress, rule
from simflow.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Bar(NamedTuple):
    """A time and what is to be said of it."""

    label: str
    value: float
    """In the unit of the panel."""
    note: str
    """Beside the bar, such as its ratio to a forward pass."""


class Bars(NamedTuple):
    """Times of one comparison."""

    title: str
    unit: str
    bars: list[Bar]


class Points(NamedTuple):
    """A quantity over one axis, both positive."""

    label: str
    xs: list[float]
    ys: list[float]


class Lines(NamedTuple):
    """How a cost grows: both axes logarithmic, so that a power law is straight."""

    title: str
    x: str
    y: str
    curves: list[Points]


Panel = Bars | Lines


def bars_by(
    records: Iterable[dict[str, Any]],
    title: Callable[[dict[str, Any]], str],
    note: Callable[[dict[str, Any]], str],
) -> list[Panel]:
    """Milliseconds of records with ``way`` and ``seconds``, a panel for each title; neighbours have the same."""
    return [
        Bars(name, "ms", [Bar(each["way"], 1e3 * each["seconds"], note(each)) for each in group])
        for name, group in groupby((each for each in records if each.get("seconds")), key=title)
    ]


def draw(panels: Sequence[Panel], target: Path, *, title: str) -> None:
    """Draws the panels, three in a row, into ``target``, in the format of its ending (.png, .svg, .pdf).

    Raises:
        ValueError: matplotlib is not installed.
    """
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    tallest = max(len(panel.bars) if isinstance(panel, Bars) else 8 for panel in panels)
    size = (6.4 * columns, (0.9 + 0.3 * tallest) * rows + 0.4)
    figure = canvas(title, inches=size, dpi=100, points=11.0, weight="normal")
    for number, panel in enumerate(panels, start=1):
        axes = figure.add_subplot(rows, columns, number)
        dress(axes, panel.title, points=10.0)
        draw_bars(axes, panel) if isinstance(panel, Bars) else draw_lines(axes, panel)
    with replacing(target) as part:
        figure.savefig(part, format=target.suffix.removeprefix("."))


def draw_bars(axes: "Axes", panel: Bars) -> None:
    """One bar below the other, from zero, its value and note behind it."""
    for place, bar in enumerate(panel.bars):
        axes.barh(place, bar.value, height=0.65, color=COLOURS[place % len(COLOURS)])
        said = f"{bar.value:.3g}" + (f"  ({bar.note})" if bar.note else "")
        axes.annotate(
            said, (bar.value, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8
        )
    axes.set_yticks(range(len(panel.bars)), [bar.label for bar in panel.bars], fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.5)
    axes.set_xlabel(panel.unit, fontsize=9)


def draw_lines(axes: "Axes", panel: Lines) -> None:
    """Points joined by lines on two logarithmic axes, the values that were taken on the horizontal one."""
    from matplotlib.ticker import LogLocator

    for number, (label, xs, ys) in enumerate(panel.curves):
        axes.loglog(xs, ys, marker="o", markersize=4, color=COLOURS[number % len(COLOURS)], label=label)
    values = sorted({x for curve in panel.curves for x in curve.xs})
    axes.set_xticks(values, [f"{value:g}" for value in values])
    axes.set_xticks([], minor=True)
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_yticks([], minor=True)
    axes.set_xlabel(panel.x, fontsize=9)
    axes.set_ylabel(panel.y, fontsize=9)
    axes.legend(fontsize=8, frameon=False)
    rule(axes)
