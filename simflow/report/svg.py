"""Charts as inline SVG that takes its colours from the page's style sheet.

Shapes have classes (``c0``, ``c1``, ... the colours of runs, ``grid``, ``axis``, ``faint``, ``dashed``), so one
drawing serves a light page, a dark one and paper. Curves are clipped by a nested ``<svg>``, which needs no names.
All text is escaped by :func:`~simflow.report.markup.tag`.
"""

import math
from collections.abc import Sequence

from simflow.report.chart import Bars, Chart, Line, Series, limits, log_limits, log_ticks, short, ticks
from simflow.report.markup import Markup, tag

WIDTH, HEIGHT = 330, 226
LEFT, RIGHT, TOP, BOTTOM = 50, 10, 10, 44
"""Size of a chart and its margins, in the drawing's own unit."""

BAR, VALUE = 26, 46
"""Height of a row of bars, and the room for its value."""

LETTERS, LETTER = 17, 7.2
"""Most letters of a bar's label, and the width of one."""

DASHES = ("dashed", "dotted", "dash-dot")
"""Kinds of broken lines in the style sheet."""

COLOURS = 6
"""Colours of the style sheet; later runs begin again."""


def draw(chart: Chart) -> Markup:
    """A chart of curves."""
    xs = [x for series in chart.series for x in series.xs] + [line.at for line in chart.lines if line.upright]
    ys = [y for series in chart.series for y in series.ys] + [
        line.at for line in chart.lines if not line.upright
    ]
    x_range = limits(xs, margin=0.02)
    y_range = chart.y_range or (log_limits(ys) if chart.logarithmic else limits(ys))
    plane = Plane(x_range, y_range, logarithmic=chart.logarithmic)
    inner = [*map(plane.line, chart.lines), *map(plane.curve, chart.series)]
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    clip = {"x": LEFT, "y": TOP, "width": width, "height": height}
    window = clip | {"viewBox": f"{LEFT} {TOP} {width} {height}"}
    return _svg(
        chart.title,
        chart.says,
        HEIGHT,
        [
            plane.grid(),
            tag("svg", *inner, attributes=window),
            _text(chart.x, LEFT + width / 2, HEIGHT - 8, "axis-name", anchor="middle"),
            _text(chart.y, 13, TOP + height / 2, "axis-name", anchor="middle", turned=True),
        ],
    )


def bars(chart: Bars) -> Markup:
    """A chart of bars from zero, each with its value."""
    values = [0.0, *(bar.value for bar in chart.bars)] + ([chart.line.at] if chart.line else [])
    low, high = min(values), max(values) or 1.0
    left = 12 + LETTER * min(LETTERS, max(len(bar.label) for bar in chart.bars))
    room = WIDTH - left - VALUE
    height = BAR * len(chart.bars) + (4 if chart.line is None else 22)

    def x(value: float) -> float:
        return left + room * (value - low) / (high - low)

    shapes: list[Markup] = []
    for row, bar in enumerate(chart.bars):
        top = BAR * row + 6
        start, end = sorted((x(0.0), x(bar.value)))
        box = {"x": _n(start), "y": top, "width": _n(max(end - start, 1)), "height": BAR - 9, "rx": 2}
        shapes += [
            tag(
                "rect", attributes=box | {"class": f"bar {_colour(bar.colour)}{' pale' if bar.pale else ''}"}
            ),
            _text(_clipped(bar.label, LETTERS), left - 8, top + 13, "label", anchor="end"),
            _text(f"{bar.value:.3f}", WIDTH - 2, top + 13, "value", anchor="end"),
        ]
    if chart.line is not None:
        at, bottom = _n(x(chart.line.at)), BAR * len(chart.bars) + 6
        shapes.append(
            tag("line", attributes={"x1": at, "x2": at, "y1": 2, "y2": bottom, "class": "stroke gray dashed"})
        )
        said = f"{chart.line.label} {chart.line.at:.3f}"
        middle = min(max(x(chart.line.at), left), WIDTH - 54)
        shapes.append(_text(said, middle, bottom + 14, "note", anchor="middle"))
    shapes.append(
        tag(
            "line",
            attributes={
                "x1": _n(x(0.0)),
                "x2": _n(x(0.0)),
                "y1": 2,
                "y2": BAR * len(chart.bars) + 2,
                "class": "axis",
            },
        )
    )
    return _svg(chart.title, chart.says, height, shapes)


class Plane:
    """From the numbers of a chart to places in the drawing."""

    def __init__(
        self, x_range: tuple[float, float], y_range: tuple[float, float], *, logarithmic: bool = False
    ) -> None:
        self.x_range, self.y_range, self.logarithmic = x_range, y_range, logarithmic

    def x(self, value: float) -> float:
        """The place of an x."""
        low, high = self.x_range
        return LEFT + (WIDTH - LEFT - RIGHT) * (value - low) / (high - low)

    def y(self, value: float) -> float:
        """The place of a y; upwards is less."""
        low, high = self.y_range
        if self.logarithmic:
            low, high, value = (math.log10(each) for each in (low, high, value))
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - low) / (high - low)

    def grid(self) -> list[Markup]:
        """Lines and numbers at the ticks of both axes."""
        made = []
        for value in (log_ticks if self.logarithmic else ticks)(*self.y_range):
            at = _n(self.y(value))
            made.append(
                tag("line", attributes={"x1": LEFT, "x2": WIDTH - RIGHT, "y1": at, "y2": at, "class": "grid"})
            )
            made.append(_text(short(value), LEFT - 6, self.y(value) + 4, "tick", anchor="end"))
        bottom = HEIGHT - BOTTOM
        for value in ticks(*self.x_range, count=6):
            at = _n(self.x(value))
            made.append(
                tag("line", attributes={"x1": at, "x2": at, "y1": bottom, "y2": bottom + 4, "class": "axis"})
            )
            made.append(_text(short(value), self.x(value), bottom + 17, "tick", anchor="middle"))
        made.append(
            tag(
                "line",
                attributes={"x1": LEFT, "x2": WIDTH - RIGHT, "y1": bottom, "y2": bottom, "class": "axis"},
            )
        )
        return made

    def curve(self, series: Series) -> list[Markup]:
        """A curve, and marks at its points if it has them."""
        places = [(_n(self.x(x)), _n(self.y(y))) for x, y in zip(series.xs, series.ys, strict=True)]
        path = "M" + "L".join(f"{x} {y}" for x, y in places)
        kinds = ["stroke", _colour(series.colour)]
        kinds += [dashes(series.dashes)] * (series.dashes > 0) + ["faint"] * series.faint
        made = [tag("path", attributes={"d": path, "class": " ".join(kinds)})]
        if series.points:
            made += [
                tag(
                    "circle", attributes={"cx": x, "cy": y, "r": 3, "class": f"mark {_colour(series.colour)}"}
                )
                for x, y in places
            ]
        return made

    def line(self, line: Line) -> list[Markup]:
        """A dashed line across, and its name."""
        if line.upright:
            at = self.x(line.at)
            ends = {"x1": _n(at), "x2": _n(at), "y1": TOP, "y2": HEIGHT - BOTTOM}
            near_end = at > WIDTH - RIGHT - 100
            name = _text(
                line.label,
                at + (-5 if near_end else 5),
                HEIGHT - BOTTOM - 7,
                "note",
                anchor="end" if near_end else "start",
            )
        else:
            at = self.y(line.at)
            ends = {"x1": LEFT, "x2": WIDTH - RIGHT, "y1": _n(at), "y2": _n(at)}
            above = at - 5 if at > TOP + 16 else at + 13
            name = _text(line.label, WIDTH - RIGHT - 4, above, "note", anchor="end")
        return [tag("line", attributes=ends | {"class": f"stroke {_colour(line.colour)} dashed"}), name]


def legend(names: Sequence[str]) -> Markup | None:
    """The runs and their colours, as a list; None if there is only one."""
    if len(names) < 2:
        return None
    items = [
        tag("li", tag("span", attributes={"class": f"swatch {_colour(number)}"}), name)
        for number, name in enumerate(names)
    ]
    return tag("ul", *items, attributes={"class": "legend"})


def key_to_dashes(names: Sequence[str]) -> Markup | None:
    """The ways that lines are drawn, in the order of their number, as a list; None if there is only one."""
    if len(names) < 2:
        return None
    items = []
    for number, name in enumerate(names):
        kind = f"stroke gray {dashes(number)}".strip()
        ends = {"x1": 0, "x2": 36, "y1": 5, "y2": 5, "class": kind}
        drawn = tag("svg", tag("line", attributes=ends), attributes={"class": "key", "viewBox": "0 0 36 10"})
        items.append(tag("li", drawn, name))
    return tag("ul", *items, attributes={"class": "legend"})


def dashes(number: int) -> str:
    """The class of a line's dashes; after three kinds they begin again.

    >>> [dashes(number) for number in range(5)]
    ['', 'dashed', 'dotted', 'dash-dot', 'dashed']
    """
    return DASHES[(number - 1) % len(DASHES)] if number else ""


def _svg(title: str, says: str, height: int, content: Sequence[Markup | list[Markup]]) -> Markup:
    attributes = {
        "class": "chart",
        "viewBox": f"0 0 {WIDTH} {height}",
        "role": "img",
        "aria-label": f"{title}. {says}".strip(),
    }
    return tag("svg", *content, attributes=attributes)


def _text(
    text: str, x: float | int, y: float | int, kind: str, *, anchor: str = "start", turned: bool = False
) -> Markup:
    place = {"x": _n(x), "y": _n(y), "class": kind, "text-anchor": anchor}
    return tag(
        "text",
        text,
        attributes=place | ({"transform": f"rotate(-90 {_n(x)} {_n(y)})"} if turned else {}),
    )


def _colour(number: int | None) -> str:
    return "gray" if number is None else f"c{number % COLOURS}"


def _n(value: float | int) -> str:
    """A coordinate, to a tenth."""
    return f"{value:.1f}".removesuffix(".0")


def _clipped(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
