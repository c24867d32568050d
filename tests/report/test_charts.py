"""What is plotted: the numbers of the records, each run in its own colour, and lines where they belong."""

import dataclasses
import sys

import numpy as np
import pytest

from simflow.analysis.distances import Distances
from simflow.analysis.latent_space import LatentSpace
from simflow.analysis.robustness import Robustness
from simflow.analysis.sweep import Sweep
from simflow.evaluate.latents import LatentStatistics
from simflow.report import charts
from simflow.report.plot import plot
from simflow.train.metrics import Curve
from tests.analysis.network import Squares

CURVE = Robustness(levels=(0.0, 1.0), scale=2.0, own_level=0.5, psnr=(20.0, 10.0), ssim=(0.9, 0.5), images=4)

SWEEP = Sweep(
    rule="GaussianProduct",
    gamma=None,
    weights=(0.0, 1.0),
    accuracy=(0.5, 0.8),
    accuracy_error=(0.1, 0.1),
    diversity=(0.9, 0.7),
    real_accuracy=0.75,
    samples=20,
)


STEPPED = dataclasses.replace(SWEEP, gamma=0.25)


def statistics(value: float) -> LatentStatistics:
    return LatentStatistics(
        spectral_entropy=value, high_frequency_ratio=value, total_variation=value, autocorrelation=value
    )


def space(value: float, side: int = 4) -> LatentSpace:
    return LatentSpace(
        shape=(2, side, side),
        drawn=statistics(value),
        means=statistics(value / 2),
        white=statistics(1.0),
        mean_std=1.0,
        noise_std=0.5,
    )


def curve(values: np.ndarray) -> Curve:
    return Curve(np.arange(1, len(values) + 1), values.astype(np.float64))


def test_four_statistics_with_two_bars_a_run_and_white_noise():
    made = charts.latents(["one", "two"], [space(0.8), space(0.4)])
    assert [chart.title for chart in made] == [title for title, _ in charts.STATISTICS.values()]
    assert [(bar.label, bar.value, bar.colour, bar.pale) for bar in made[0].bars] == [
        ("one", 0.8, 0, False),
        ("its means", 0.4, 0, True),
        ("two", 0.4, 1, False),
        ("its means", 0.2, 1, True),
    ]
    assert made[0].line.at == 1.0


def test_white_noise_of_one_shape_is_no_yardstick_for_another():
    assert charts.latents(["one", "two"], [space(0.8), space(0.4, side=8)])[0].line is None


def test_a_run_without_a_record_leaves_its_colour_out():
    (decibels, ssim) = charts.robustness(["a", "b", "c"], [CURVE, None, CURVE])
    assert [(series.label, series.colour) for series in decibels.series] == [("a", 0), ("c", 2)]
    assert decibels.series[0].ys == (20.0, 10.0)
    assert [(line.at, line.colour) for line in decibels.lines] == [(0.5, 0), (0.5, 2)]
    assert ssim.series[0].ys == (0.9, 0.5)
    assert charts.robustness(["a"], [None]) == []


def test_an_exact_reconstruction_has_no_place_on_the_scale():
    exact = dataclasses.replace(CURVE, psnr=(None, 10.0))
    assert [chart.title for chart in charts.robustness(["a"], [exact])] == ["SSIM under latent noise"]


def far(*values: float, floor: float | None = 5.0, suffix: str = "Test") -> Distances:
    identity = dataclasses.replace(Squares().identity, suffix=suffix)
    return Distances(
        extractor=identity, values=values, rank_deficient=True, real=80, floor=floor, floor_images=40
    )


def test_a_sweep_with_the_score_step_is_dashed():
    accuracy, spread, both = charts.sweeps(["a"], [(SWEEP, STEPPED)])
    assert [series.dashes for series in accuracy.series] == [0, 1]
    assert [line.at for line in accuracy.lines] == [0.75]
    assert spread.series[0].ys == (0.9, 0.7)
    assert (both.series[0].xs, both.series[0].ys) == ((0.9, 0.7), (0.5, 0.8))


def test_figure_7_has_a_line_a_score_step_and_comes_first():
    sweeps = [
        dataclasses.replace(SWEEP, gamma=gamma, distances=(far(*values),))
        for gamma, values in ((None, (40.0, 30.0)), (0.25, (35.0, 28.0)), (0.5, (33.0, 31.0)))
    ]
    chart, *others = charts.sweeps(["a"], [sweeps])
    assert (chart.title, chart.y, chart.logarithmic) == ("Fréchet distance, FD-Test", "FD-Test", False)
    assert [each.label for each in chart.series] == ["a", "a, score step 0.25", "a, score step 0.5"]
    assert [(each.dashes, each.colour) for each in chart.series] == [(0, 0), (1, 0), (2, 0)]
    assert chart.series[1].ys == (35.0, 28.0)
    assert [(line.label, line.at) for line in chart.lines] == [("real images 5", 5.0)]
    assert "The least is 28, at 1 of a, score step 0.25." in chart.says
    assert len(others) == 3


def test_a_score_step_has_the_same_dashes_in_all_runs():
    made = [[dataclasses.replace(SWEEP, gamma=gamma) for gamma in own] for own in ((None, 0.5), (None, 0.25))]
    accuracy, *_ = charts.sweeps(["a", "b"], made)
    assert [(each.dashes, each.colour) for each in accuracy.series] == [(0, 0), (2, 0), (0, 1), (1, 1)]


def test_distances_of_different_networks_share_no_axes():
    one, two = (dataclasses.replace(SWEEP, distances=(far(40.0, 30.0, suffix=suffix),)) for suffix in "AB")
    made = charts.distances(["a", "b", "c"], [(one,), (two,), (one,)])
    assert [chart.y for chart in made] == ["FD-A", "FD-B"]
    assert [[each.colour for each in chart.series] for chart in made] == [[0, 2], [1]]
    assert charts.distances(["a"], [(SWEEP,)]) == []


def test_a_wide_spread_is_drawn_logarithmically():
    wide = dataclasses.replace(SWEEP, distances=(far(400.0, 30.0),))
    assert charts.distances(["a"], [(wide,)])[0].logarithmic
    least = dataclasses.replace(SWEEP, distances=(far(400.0, 30.0, floor=0.0),))
    assert not charts.distances(["a"], [(least,)])[0].logarithmic
    unknown = dataclasses.replace(SWEEP, distances=(far(400.0, 30.0, floor=None),))
    (chart,) = charts.distances(["a"], [(unknown,)])
    assert (chart.lines, chart.logarithmic) == ((), True)


def test_losses_are_shown_from_where_they_can_be_read_with_the_floor():
    steep = np.concatenate([np.full(20, 1000.0), np.linspace(2, 1, 980)])
    prior, mse = charts.losses(["a"], [{"prior": curve(steep), "mse": curve(steep)}], [{}], [0.5])
    assert prior.y_range[1] < 3
    assert prior.y_range[0] < 0.5
    assert [line.at for line in prior.lines] == [0.5]
    assert mse.lines == ()
    assert [series.faint for series in prior.series] == [True, False]
    assert len(prior.series[1].xs) <= 400


def test_losses_of_several_runs_share_their_axes():
    one, two = {"total": curve(np.ones(5))}, {"total": curve(np.zeros(9)), "mse": curve(np.ones(9))}
    total, mse = charts.losses(["one", "two"], [one, two], [{}, {}], [None, None])
    assert [(series.label, len(series.xs)) for series in total.series] == [("one", 5), ("two", 9)]
    assert [series.colour for series in mse.series] == [1]


def test_losses_on_held_out_images_are_dashed_in_the_colour_of_their_run_and_in_sight():
    one, two = {"total": curve(np.ones(5))}, {"total": curve(np.zeros(9))}
    unseen = [{}, {"total": curve(np.array([3.0, 2.0]))}]
    (total,) = charts.losses(["one", "two"], [one, two], unseen, [None, None])
    assert [(series.label, series.colour, series.dashes) for series in total.series] == [
        ("one", 0, 0),
        ("two", 1, 0),
        ("two, held out", 1, 1),
    ]
    assert total.series[2].ys == (3.0, 2.0)
    assert total.y_range[1] > 3
    (total,) = charts.losses(["one"], [one], [{"total": curve(np.ones(1))}], [None])
    assert [series.points for series in total.series] == [False, True]


def test_the_running_mean_is_shorter_at_the_ends():
    values = np.array([1.0, 2.0, 6.0, 7.0])
    np.testing.assert_allclose(charts.running_mean(values, 3), [1.5, 3, 5, 6.5])
    np.testing.assert_allclose(charts.running_mean(values, 1), values)


def test_a_term_is_called_by_its_name_unless_there_is_a_better_one():
    made = charts.losses(["a"], [{"mse": curve(np.ones(1)), "my_term": curve(np.ones(1))}], [{}], [None])
    assert [(chart.title, chart.y) for chart in made] == [
        ("Mean squared error", "on [-1, 1]"),
        ("My term", "loss"),
    ]


def test_histograms_are_shares_of_each_set():
    chart = charts.histogram({"edges": [0.0, 1.0, 2.0], "counts": {"a": [3, 1], "b": [0, 8]}}, x="bits")
    assert chart.series[0].ys == (0.0, 0.75, 0.75, 0.25, 0.25, 0.0)
    assert chart.series[1].ys == (0.0, 0.0, 0.0, 1.0, 1.0, 0.0)
    assert chart.series[0].xs == (0.0, 0.0, 1.0, 1.0, 2.0, 2.0)


@pytest.mark.parametrize(
    "record",
    [{}, {"edges": [0.0, 1.0], "counts": {"a": [1, 2]}}, {"edges": [0.0, 1.0], "counts": {"a": [0]}}],
)
def test_what_is_no_histogram_is_left_out(record):
    assert charts.histogram(record, x="bits") is None


def test_png_files_of_curves_and_bars(tmp_path):
    wide = dataclasses.replace(STEPPED, distances=(far(400.0, 30.0),))
    made = [*charts.latents(["a"], [space(0.8)]), *charts.sweeps(["a"], [(SWEEP, wide)])]
    plot(made, tmp_path / "all.png", title="all")
    assert (tmp_path / "all.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["all.png"]
    assert "matplotlib.pyplot" not in sys.modules


def test_without_matplotlib_a_plot_is_refused_in_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ValueError, match="plots need matplotlib"):
        plot([], tmp_path / "all.png", title="all")
