"""Charts as PNG files, if matplotlib is installed."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from simflow.canvas import COLOURS, canvas, dress, layout, rule
from simflow.files import replacing
from simflow.report.chart import Bars, Chart, log_limits, log_ticks, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GRAY = "#6b7280"

DASHES = ("--", ":", "-.")


def plot(charts: Sequence[Chart | Bars], target: Path, *, title: str) -> None:
    """Draws charts side by side, at most three in a row, into a PNG file.

    Raises:
        ValueError: matplotlib is not installed.
    """
    columns, rows = layout(len(charts))
    figure = canvas(title, inches=(4.8 * columns, 3.4 * rows + 0.4))
    for number, chart in enumerate(charts, start=1):
        panel = figure.add_subplot(rows, columns, number)
        dress(panel, chart.title)
        _bars(panel, chart) if isinstance(chart, Bars) else _curves(panel, chart)
    with replacing(target) as part:
        figure.savefig(part, format="png")


def _curves(panel: "Axes", chart: Chart) -> None:
    for series in chart.series:
        panel.plot(
            series.xs,
            series.ys,
            label=series.label,
            color=_colour(series.colour),
            linestyle=DASHES[(series.dashes - 1) % len(DASHES)] if series.dashes else "-",
            marker="o" if series.points else None,
            markersize=4,
            linewidth=0.8 if series.faint else 1.6,
            alpha=0.3 if series.faint else 1.0,
        )
    for line in chart.lines:
        style = {"color": _colour(line.colour), "linestyle": "--", "linewidth": 1}
        panel.axvline(line.at, **style) if line.upright else panel.axhline(line.at, **style)
        place = (line.at, 0.02) if line.upright else (0.99, line.at)
        panel.annotate(
            line.label,
            place,
            xycoords=("data", "axes fraction") if line.upright else ("axes fraction", "data"),
            xytext=(4, 3),
            textcoords="offset points",
            ha="left" if line.upright else "right",
            fontsize=8,
            color=GRAY,
        )
    if chart.logarithmic:
        values = [y for series in chart.series for y in series.ys]
        values += [line.at for line in chart.lines if not line.upright]
        low, high = chart.y_range or log_limits(values)
        panel.set_yscale("log")
        marks = log_ticks(low, high)
        panel.set_yticks(marks, [short(mark) for mark in marks])
        panel.set_yticks([], minor=True)
        panel.set_ylim(low, high)
    elif chart.y_range is not None:
        panel.set_ylim(*chart.y_range)
    if len({series.label for series in chart.series if series.label}) > 1:
        panel.legend(fontsize=8, frameon=False)
    panel.set_xlabel(chart.x, fontsize=9)
    panel.set_ylabel(chart.y, fontsize=9)
    rule(panel)


def _bars(panel: "Axes", chart: Bars) -> None:
    for row, bar in enumerate(chart.bars):
        panel.barh(row, bar.value, color=_colour(bar.colour), alpha=0.5 if bar.pale else 1.0, height=0.65)
        panel.annotate(
            f"{bar.value:.3f}",
            (bar.value, row),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
            fontsize=8,
        )
    panel.set_yticks(range(len(chart.bars)), [bar.label for bar in chart.bars], fontsize=8)
    panel.invert_yaxis()
    panel.margins(x=0.15)
    if chart.line is not None:
        panel.axvline(chart.line.at, color=GRAY, linestyle="--", linewidth=1)
        panel.set_xlabel(f"dashed: {chart.line.label} {chart.line.at:.3f}", fontsize=8, color=GRAY)


def _colour(number: int | None) -> str:
    return GRAY if number is None else COLOURS[number % len(COLOURS)]
