"""A plot as data: curves or bars, with axes that can be read.

A :class:`Chart` says what is to be seen and nothing of how. It is drawn twice: as SVG for the report
(:mod:`simflow.report.svg`), where colours follow the page's light or dark theme, and as PNG files for people who
want files (:mod:`simflow.report.plot`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

POINTS = 400
"""Most points of a drawn curve: longer ones are averaged."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """One curve; equally many ``xs`` and ``ys``, all of them finite."""

    label: str
    """What the legend says; empty for none."""
    xs: tuple[float, ...]
    ys: tuple[float, ...]
    colour: int | None = 0
    """Number of the colour, the same for one run in all charts; None is gray, for what curves are held against."""
    dashes: int = 0
    """0 is a full line; 1, 2, 3 are dashed, dotted, and both in turn."""
    points: bool = False
    """Mark the points."""
    faint: bool = False
    """Behind the others: values as logged, under their running mean."""

    def __post_init__(self) -> None:
        assert len(self.xs) == len(self.ys)
        assert all(math.isfinite(value) for value in (*self.xs, *self.ys))


@dataclass(frozen=True, kw_only=True)
class Line:
    """A dashed straight line across a chart."""

    label: str
    at: float
    upright: bool = False
    """At an x instead of at a y."""
    colour: int | None = None


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Curves over a common axis."""

    title: str
    x: str
    """Name and unit of the axis."""
    y: str
    series: tuple[Series, ...]
    lines: tuple[Line, ...] = ()
    says: str = ""
    """In a sentence what is seen: for those who cannot see it."""
    y_range: tuple[float, float] | None = None
    """What is shown; None is all of it."""
    logarithmic: bool = False
    """Equal factors are equally far apart on the y axis; all values must be positive."""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar from zero."""

    label: str
    value: float
    colour: int | None = 0
    pale: bool = False


@dataclass(frozen=True, kw_only=True)
class Bars:
    """Lengths of one quantity, one below the other."""

    title: str
    bars: tuple[Bar, ...]
    line: Line | None = None
    """What they are held against."""
    says: str = ""


def limits(values: Sequence[float], *, margin: float = 0.05) -> tuple[float, float]:
    """The range to show: that of the values, somewhat widened.

    >>> limits([0.0, 10.0]), limits([2.0, 2.0])
    ((-0.5, 10.5), (1.0, 3.0))
    """
    low, high = min(values), max(values)
    if low == high:
        pad = abs(low) / 2 or 1.0
        return low - pad, high + pad
    pad = margin * (high - low)
    return low - pad, high + pad


def ticks(low: float, high: float, *, count: int = 5) -> list[float]:
    """Round numbers in a range, at most ``count + 1`` of them: multiples of 1, 2 or 5 times a power of ten.

    >>> ticks(0.0, 10.0), ticks(-0.12, 0.31)
    ([0.0, 2.0, 4.0, 6.0, 8.0, 10.0], [-0.1, 0.0, 0.1, 0.2, 0.3])
    """
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(number * step, 12) + 0.0 for number in range(first, last + 1)]


def log_limits(values: Sequence[float]) -> tuple[float, float]:
    """:func:`limits` of positive values on a logarithmic axis.

    >>> log_limits([1.0, 100.0])
    (0.7943282347242815, 125.89254117941675)
    """
    low, high = limits([math.log10(value) for value in values])
    return 10**low, 10**high


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers in a range of positive ones: 1, 2 and 5 times powers of ten, or the powers alone if those are
    more than seven.

    >>> log_ticks(8.0, 150.0), log_ticks(0.01, 1000.0)
    ([10.0, 20.0, 50.0, 100.0], [0.01, 0.1, 1.0, 10.0, 100.0, 1000.0])
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    fine = [float(f"{factor}e{power}") for power in powers for factor in (1, 2, 5)]
    inside = [value for value in fine if low <= value <= high]
    return inside if len(inside) <= 7 else [value for value in inside if value in fine[::3]]


def short(value: float) -> str:
    """A number on an axis.

    >>> [short(value) for value in (0.0, 0.25, 1500.0, 20000.0, -2e6, 1e-5)]
    ['0', '0.25', '1500', '20k', '-2M', '1e-05']
    """
    for size, unit in ((1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if unit == 'k' else size):g}{unit}"
    return f"{value:g}"


def thinned(xs: np.ndarray, ys: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """At most ``POINTS`` points: means over equally long pieces of the curve.

    >>> xs, ys = thinned(np.arange(1000), np.ones(1000))
    >>> len(xs) <= POINTS, set(ys)
    (True, {1.0})
    """
    pieces = min(len(xs), POINTS)
    if pieces == len(xs):
        return tuple(map(float, xs)), tuple(map(float, ys))
    starts = np.arange(pieces) * len(xs) // pieces
    counts = np.diff(np.append(starts, len(xs)))
    return tuple(
        tuple((np.add.reduceat(values.astype(float), starts) / counts).tolist()) for values in (xs, ys)
    )  # pyright: ignore[reportReturnType]
