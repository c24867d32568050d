"""The loss curves of a run as one picture: a panel for each term of the objective.

They are read from ``metrics.jsonl``, one JSON object per line with ``step`` and the losses as ``loss/<name>``
(null where a loss was no number), on held-out images as ``held_out/<name>``. Faint lines are the values as logged,
strong ones their running mean over a fortieth of the run, dark ones with points the losses on held-out images. The
first twentieth of a long run may be cut off above, where losses fall steeply, so that what follows can be read. The
flow's panel shows the floor of its loss as a dashed line: a curve that comes to rest on it belongs to latents that say
nothing of their images.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from simflow.canvas import COLOURS, canvas, dress, layout, rule
from simflow.files import replacing
from simflow.objective import comparable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PREFIX = "loss/"
"""What the names of losses begin with in the file."""

HELD_OUT = "held_out/"
"""And those of losses on held-out images."""

HEADINGS = {
    "total": ("Total", "sum of the terms"),
    "reconstruction": ("Reconstruction", "loss"),
    "prior": ("Flow (negative log likelihood)", "nats per latent number"),
    "entropy": ("Posterior entropy, negative", "nats per latent number"),
    "mse": ("Mean squared error", "on [-1, 1]"),
}
"""Heading and unit of the terms that have a better one than their own name."""


class Curve(NamedTuple):
    """A loss over training; equally many of both, steps ascending."""

    steps: NDArray[np.int64]
    values: NDArray[np.float64]


def read_curves(metrics: Path) -> dict[str, Curve]:
    """The losses in a ``metrics.jsonl`` by name, in the order of the file; of lines of one step, the last.

    Raises:
        ValueError: there is no such file, a line is damaged, or there is no loss in it.
    """
    curves = _read(metrics, PREFIX)
    if not curves:
        raise ValueError(f"there is no loss in {metrics}")
    return curves


def read_held_out(metrics: Path) -> dict[str, Curve]:
    """The losses on held-out images likewise; nothing where a run did not look at any.

    Raises:
        ValueError: there is no such file, or a line is damaged.
    """
    return _read(metrics, HELD_OUT)


def _read(metrics: Path, prefix: str) -> dict[str, Curve]:
    if not metrics.is_file():
        raise ValueError(f"there is no file {metrics}")
    points: dict[str, dict[int, float]] = {}
    for number, line in enumerate(metrics.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            record = json.loads(line)
            step = int(record["step"])
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(f"line {number} of {metrics} is not a line of metrics") from error
        for key, value in record.items():
            if key.startswith(prefix) and value is not None:
                points.setdefault(key.removeprefix(prefix), {})[step] = float(value)
    return {name: _curve(values) for name, values in points.items()}


def plot_losses(metrics: Path, target: Path, *, title: str, floor: float | None = None) -> None:
    """Draws the losses of ``metrics`` into ``target``, in the format of its ending (.png, .svg, .pdf).

    Args:
        metrics: a ``metrics.jsonl``.
        target: the picture.
        title: of the whole picture.
        floor: least possible value of the flow's loss, or None.

    Raises:
        ValueError: matplotlib is not installed, or as :func:`read_curves`.
    """
    figure = draw_losses(read_curves(metrics), read_held_out(metrics), title=title, floor=floor)
    with replacing(target) as part:
        figure.savefig(part, format=target.suffix.removeprefix("."))


def draw_losses(
    curves: dict[str, Curve],
    held_out: Mapping[str, Curve] = MappingProxyType({}),
    *,
    title: str,
    floor: float | None = None,
) -> "Figure":
    """A figure with one panel a curve, at most three in a row.

    Raises:
        ValueError: matplotlib is not installed.
    """
    columns, rows = layout(len(curves))
    held_out = comparable(curves, held_out)
    figure = canvas(title, inches=(4.6 * columns, 3.1 * rows + 0.4))
    for index, (name, curve) in enumerate(curves.items()):
        panel = figure.add_subplot(rows, columns, index + 1)
        own_floor = floor if name == "prior" else None
        _draw(panel, name, curve, held_out.get(name), COLOURS[index % len(COLOURS)], own_floor)
    return figure


def _draw(
    panel: "Axes", name: str, curve: Curve, held_out: Curve | None, colour: str, floor: float | None
) -> None:
    heading, unit = HEADINGS.get(name, (name.replace("_", " ").capitalize(), "loss"))
    steps, values = curve
    window = max(1, len(values) // 40)
    if window > 1:
        panel.plot(steps, values, color=colour, alpha=0.25, linewidth=0.8)
    panel.plot(steps, running_mean(values, window), color=colour, linewidth=1.6)
    if floor is not None:
        panel.axhline(floor, color="#444444", linestyle="--", linewidth=1)
        panel.annotate(
            f"floor {floor:.3f}",
            (0.99, floor),
            xycoords=("axes fraction", "data"),
            xytext=(0, 3),
            textcoords="offset points",
            ha="right",
            color="#444444",
            fontsize=8,
        )
    shown = values[len(values) // 20 :]
    if held_out is not None:
        panel.plot(*held_out, color="#222222", linewidth=1, marker="o", markersize=3)
        panel.annotate(
            "held out",
            (held_out.steps[-1], held_out.values[-1]),
            xytext=(-2, 5),
            textcoords="offset points",
            ha="right",
            color="#222222",
            fontsize=8,
        )
        shown = np.concatenate([shown, held_out.values[len(held_out.values) // 20 :]])
    low, high = min(shown.min(), shown.min() if floor is None else floor), shown.max()
    margin = 0.06 * (high - low) + 1e-9
    panel.set_ylim(low - margin, high + margin)
    panel.set_xlabel("training step", fontsize=9)
    panel.set_ylabel(unit, fontsize=9)
    dress(panel, heading)
    rule(panel)


def running_mean(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Means over ``window`` neighbouring values, fewer at the ends; as long as ``values``."""
    ones = np.ones(window)
    return np.convolve(values, ones, mode="same") / np.convolve(np.ones(len(values)), ones, mode="same")


def _curve(values: dict[int, float]) -> Curve:
    steps = sorted(values)
    return Curve(
        np.array(steps, dtype=np.int64), np.array([values[step] for step in steps], dtype=np.float64)
    )
