"""Charts: numbers are where they belong, text is escaped, and the drawing is well-formed."""

from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simflow.report import svg
from simflow.report.chart import Bar, Bars, Chart, Line, Series, limits, log_ticks, thinned, ticks
from simflow.report.svg import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH


def chart(**changes) -> Chart:
    series = Series(label="a", xs=(0.0, 1.0, 2.0), ys=(0.0, 10.0, 5.0), colour=1, points=True)
    return Chart(
        **({"title": "T", "x": "x", "y": "y", "series": (series,), "y_range": (0.0, 10.0)} | changes)
    )


def marks(drawn: str) -> list[tuple[float, float]]:
    root = ElementTree.fromstring(drawn)
    return [(float(c.attrib["cx"]), float(c.attrib["cy"])) for c in root.iter("circle")]


def test_points_lie_in_proportion_and_upwards():
    places = marks(svg.draw(chart()))
    xs, ys = [x for x, _ in places], [y for _, y in places]
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.2)
    assert ys == pytest.approx([HEIGHT - BOTTOM, TOP, (HEIGHT - BOTTOM + TOP) / 2], abs=0.1)
    assert LEFT < xs[0] < xs[2] < WIDTH - RIGHT


def test_a_chart_says_what_it_shows_and_escapes_names():
    hostile = "</text><script>"
    drawn = svg.draw(
        chart(title=hostile, x=hostile, lines=(Line(label=hostile, at=3.0),), says="Down it goes.")
    )
    root = ElementTree.fromstring(drawn)
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"] == f"{hostile}. Down it goes."
    assert not list(root.iter("script"))
    assert [text.text for text in root.iter("text")].count(hostile) == 2


def test_colours_begin_again_and_gray_is_for_references():
    series = tuple(Series(label="", xs=(0.0, 1.0), ys=(0.0, 1.0), colour=c) for c in (0, 7, None))
    kinds = [p.attrib["class"] for p in ElementTree.fromstring(svg.draw(chart(series=series))).iter("path")]
    assert kinds == ["stroke c0", "stroke c1", "stroke gray"]


def test_bars_start_at_zero_in_both_directions():
    bars = (
        Bar(label="up", value=1.0),
        Bar(label="half", value=0.5),
        Bar(label="down", value=-0.5, pale=True),
    )
    drawn = svg.bars(Bars(title="T", bars=bars, line=Line(label="white", at=0.8)))
    root = ElementTree.fromstring(drawn)
    up, half, down = root.iter("rect")
    assert float(up.attrib["width"]) == pytest.approx(2 * float(half.attrib["width"]), abs=0.2)
    assert float(down.attrib["x"]) + float(down.attrib["width"]) == pytest.approx(
        float(up.attrib["x"]), abs=0.2
    )
    said = [text.text for text in root.iter("text")]
    assert {"up", "half", "down", "1.000", "-0.500", "white 0.800"} <= set(said)


def test_bars_of_nothing_are_drawn():
    assert ElementTree.fromstring(svg.bars(Bars(title="T", bars=(Bar(label="none", value=0.0),))))


def test_a_legend_is_for_several():
    assert svg.legend(["one"]) is None
    assert svg.legend(["<one>", "two"]).count("<li>") == 2
    assert "<one>" not in svg.legend(["<one>", "two"])


def test_equal_factors_are_equally_far_apart_on_a_logarithmic_axis():
    series = Series(label="", xs=(0.0, 1.0, 2.0), ys=(1.0, 10.0, 100.0), points=True)
    drawn = svg.draw(chart(series=(series,), y_range=(1.0, 100.0), logarithmic=True))
    assert [y for _, y in marks(drawn)] == pytest.approx(
        [HEIGHT - BOTTOM, (HEIGHT - BOTTOM + TOP) / 2, TOP], abs=0.1
    )
    said = [text.text for text in ElementTree.fromstring(drawn).iter("text")]
    assert said[:7] == ["1", "2", "5", "10", "20", "50", "100"]
    whole = svg.draw(chart(series=(series,), y_range=None, logarithmic=True))
    assert all(TOP < y < HEIGHT - BOTTOM for _, y in marks(whole))


def test_lines_have_their_dashes_and_a_key():
    series = [Series(label=str(kind), xs=(0.0, 1.0), ys=(0.0, 1.0), dashes=kind) for kind in range(5)]
    root = ElementTree.fromstring(svg.draw(chart(series=tuple(series))))
    kinds = [path.attrib["class"].split()[2:] for path in root.iter("path")]
    assert kinds == [[], ["dashed"], ["dotted"], ["dash-dot"], ["dashed"]]
    key = svg.key_to_dashes(["none", "<0.25>"])
    assert key.count("<li>") == key.count("<svg") == 2
    assert key.count("dashed") == 1
    assert "<0.25>" not in key
    assert svg.key_to_dashes(["none"]) is None


@given(st.floats(-9, 6), st.floats(1.05, 9))
def test_logarithmic_ticks_are_few_and_inside(power, decades):
    low, high = 10**power, 10 ** (power + decades)
    made = log_ticks(low, high)
    assert 1 <= len(made) <= 10
    assert all(low <= tick <= high for tick in made)
    assert made == sorted(set(made))


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_few_even_and_inside(low, length):
    made = ticks(low, low + length)
    assert 1 <= len(made) <= 6
    assert all(low - 1e-3 * length <= tick <= low + 1.001 * length for tick in made)
    steps = [b - a for a, b in pairwise(made)]
    assert all(step == pytest.approx(steps[0], rel=1e-3, abs=1e-9) for step in steps)


def test_limits_hold_all_values():
    assert limits([3.0]) == (1.5, 4.5)
    low, high = limits([-1.0, 4.0])
    assert low < -1 < 4 < high


def test_thinning_keeps_short_curves_and_means_of_long_ones():
    xs, ys = thinned(np.arange(3), np.array([1.0, 5.0, 2.0]))
    assert (xs, ys) == ((0.0, 1.0, 2.0), (1.0, 5.0, 2.0))
    xs, ys = thinned(np.arange(4000), np.arange(4000) * 2.0)
    assert len(xs) == 400
    assert xs[0] == pytest.approx(4.5)
    np.testing.assert_allclose(ys, 2 * np.array(xs))


def test_a_number_that_is_none_has_no_place_in_a_chart():
    with pytest.raises(AssertionError):
        Series(label="", xs=(0.0,), ys=(float("nan"),))
