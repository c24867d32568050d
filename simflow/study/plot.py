"""The plot of a study: above, ours, means with standard deviations and the seeds as dots; below, the paper's numbers.

Both have axes of their own, for only their shapes can be compared.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

from simflow.canvas import COLOURS, canvas, dress, rule
from simflow.files import replacing
from simflow.study.columns import column
from simflow.study.study import Row, Study
from simflow.study.table import figures_of, spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANELS = (
    ("PSNR ↑", ("psnr",)),
    ("rFD ↓", ("rfd",)),
    ("Fréchet distance of samples ↓", ("fd", "fd_guided")),
    ("Class accuracy ↑", ("accuracy", "accuracy_guided")),
)
"""Heading and figures of each panel."""

PAPER = {"rfd": "rFID ↓", "psnr": "PSNR ↑", "fd": "gFID ↓"}
"""Heading of the paper's panel, by the first figure of ours."""


class Point(NamedTuple):
    """One row's place and value."""

    x: float
    mean: float
    deviation: float | None
    seeds: Sequence[float]


def plot(study: Study, records: Mapping[str, Mapping[int, Mapping[str, Any]]], target: Path) -> None:
    """Draws the study into an SVG file; matplotlib must be there."""
    from matplotlib import rc_context

    figures = figures_of(records)
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": study.name}):
        panels = [
            (heading, keys) for heading, keys in PANELS if any(ours(study.rows, figures, key) for key in keys)
        ]
        paper = [keys for _, keys in panels if any(theirs(study.rows, key) for key in keys)]
        columns, rows = max(1, len(panels)), 2 if paper else 1
        size = (4.2 * columns, 3.4 * rows + 0.4)
        figure = canvas(f"{study.name}: {study.says}", inches=size, dpi=100, points=11.0)
        for number, (heading, keys) in enumerate(panels):
            panel = figure.add_subplot(rows, columns, number + 1)
            draw(panel, study, {key: ours(study.rows, figures, key) for key in keys}, heading)
            if keys in paper:
                panel = figure.add_subplot(rows, columns, columns + number + 1)
                points = {key: theirs(study.rows, key) for key in keys}
                draw(panel, study, points, f"{PAPER[keys[0]]}, the paper's")
        with replacing(target) as part:
            figure.savefig(part, format="svg", metadata={"Date": None})


def ours(
    rows: Sequence[Row], figures: Mapping[str, Mapping[int, Mapping[str, Any]]], key: str
) -> list[Point]:
    """The points of a figure, of the rows that have it."""
    points = []
    for place, row in enumerate(rows):
        seeds = [float(run[key]) for run in figures[row.name].values() if run.get(key) is not None]
        if seeds:
            deviation = spread(figures[row.name])[key][1]
            points.append(Point(place if row.x is None else row.x, fmean(seeds), deviation, seeds))
    return points


def theirs(rows: Sequence[Row], key: str) -> list[Point]:
    """The paper's numbers as points."""
    points = []
    for place, row in enumerate(rows):
        x = row.x if row.paper_x is None else row.paper_x
        if key in row.paper:
            points.append(Point(place if x is None else x, row.paper[key], None, ()))
    return points


def draw(panel: "Axes", study: Study, curves: Mapping[str, Sequence[Point]], heading: str) -> None:
    """One panel: a curve over an axis, or dots where rows stand side by side."""
    shown = {key: points for key, points in curves.items() if points}
    for number, (key, points) in enumerate(shown.items()):
        colour = COLOURS[number]
        shift = 0.0 if study.axis else 0.12 * (2 * number - len(shown) + 1)
        xs = [point.x + shift for point in points]
        panel.errorbar(
            xs,
            [point.mean for point in points],
            yerr=[point.deviation or 0.0 for point in points],
            color=colour,
            marker="o",
            markersize=5,
            linestyle="-" if study.axis else "none",
            capsize=3,
            label="guided"
            if key.endswith("_guided")
            else "unguided"
            if len(curves) > 1
            else column(key).title,
        )
        for x, point in zip(xs, points, strict=True):
            panel.plot([x] * len(point.seeds), point.seeds, ".", color=colour, alpha=0.4, markersize=4)
    dress(panel, heading, points=10.0)
    rule(panel, axis="y")
    if len(shown) > 1:
        panel.legend(fontsize=8, frameon=False)
    if study.axis is None:
        panel.set_xticks(range(len(study.rows)), [row.label for row in study.rows], rotation=35, ha="right")
        panel.set_xlim(-0.5, len(study.rows) - 0.5)
        return
    panel.set_xlabel(study.axis, fontsize=9)
    if study.logarithmic:
        panel.set_xscale("log", base=2)
    ticks = sorted({point.x for points in shown.values() for point in points})
    panel.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    panel.minorticks_off()
