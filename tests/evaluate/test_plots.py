"""Loss curves: what is read from the file is what is drawn, with the floor where it belongs."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

from simflow.evaluate.plots import draw_losses, plot_losses, read_curves, read_held_out, running_mean


@pytest.fixture
def metrics(tmp_path):
    """400 steps, one of them logged twice, one loss once null."""
    file = tmp_path / "metrics.jsonl"
    lines = []
    for step in (*range(1, 401), 400):
        prior = None if step == 5 else 0.02 + 1 / step
        losses = {"loss/total": 2 / step, "loss/prior": prior, "loss/mse": 0.1, "loss/my_term": -step}
        lines.append(json.dumps({"step": step, "images": 64 * step, "lr": 1e-3, "grad_norm": 1.0} | losses))
    lines[-1] = lines[-1].replace("-400", "77")
    file.write_text("\n".join(lines) + "\n")
    return file


def test_reading_keeps_the_last_of_a_step_and_leaves_out_what_is_no_number(metrics):
    curves = read_curves(metrics)
    assert list(curves) == ["total", "prior", "mse", "my_term"]
    assert curves["total"].steps.tolist() == list(range(1, 401))
    assert curves["prior"].steps.tolist() == [1, 2, 3, 4, *range(6, 401)]
    np.testing.assert_allclose(curves["prior"].values, 0.02 + 1 / curves["prior"].steps)
    assert curves["my_term"].values[[0, 398, 399]].tolist() == [-1, -399, 77]


def test_a_panel_for_each_term_with_labels_and_the_curves_themselves(metrics):
    curves = read_curves(metrics)
    figure = draw_losses(curves, title="a run")
    assert figure.get_suptitle() == "a run"
    assert [panel.get_title(loc="left") for panel in figure.axes] == [
        "Total",
        "Flow (negative log likelihood)",
        "Mean squared error",
        "My term",
    ]
    for panel, curve in zip(figure.axes, curves.values(), strict=True):
        assert panel.get_xlabel()
        assert panel.get_ylabel()
        faint, strong = panel.lines
        np.testing.assert_array_equal(faint.get_xydata(), np.stack(curve, axis=1))
        np.testing.assert_allclose(strong.get_ydata(), running_mean(curve.values, len(curve.values) // 40))


def test_the_floor_is_a_dashed_line_in_the_panel_of_the_flow_alone_and_in_sight(metrics):
    panels = draw_losses(read_curves(metrics), title="a run", floor=-0.193).axes
    dashed = [[line for line in panel.lines if line.get_linestyle() == "--"] for panel in panels]
    assert [len(lines) for lines in dashed] == [0, 1, 0, 0]
    assert set(dashed[1][0].get_ydata()) == {-0.193}
    low, high = panels[1].get_ylim()
    assert low < -0.193 < high
    assert high < 0.2, "the steep beginning hides the rest"


def test_losses_on_held_out_images_stand_in_the_panels_of_their_terms(tmp_path):
    file = tmp_path / "metrics.jsonl"
    lines = [{"step": step, "loss/total": 2.0, "loss/prior": 1.0} for step in range(1, 9)]
    for line in lines[3::4]:
        line["held_out/prior"] = 1 + line["step"]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    unseen = read_held_out(file)
    assert list(unseen) == ["prior"]
    assert (unseen["prior"].steps.tolist(), unseen["prior"].values.tolist()) == ([4, 8], [5.0, 9.0])
    total, prior = draw_losses(read_curves(file), unseen, title="a run").axes
    assert len(total.lines) == 1
    np.testing.assert_array_equal(prior.lines[-1].get_xydata(), [[4, 5], [8, 9]])
    assert [text.get_text() for text in prior.texts] == ["held out"]
    assert prior.get_ylim()[1] > 9


def test_a_run_of_one_line_can_be_drawn(tmp_path):
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"step": 1, "loss/total": 2.5}\n')
    (panel,) = draw_losses(read_curves(file), title="short").axes
    assert panel.get_ylim()[0] < 2.5 < panel.get_ylim()[1]


def test_the_running_mean_is_shorter_at_the_ends():
    values = np.array([1.0, 2.0, 6.0, 7.0])
    np.testing.assert_allclose(running_mean(values, 3), [1.5, 3, 5, 6.5])
    np.testing.assert_allclose(running_mean(values, 1), values)


def test_the_picture_is_written_and_pyplot_left_alone(metrics, tmp_path):
    target = tmp_path / "losses.png"
    plot_losses(metrics, target, title="a run", floor=-0.193)
    with Image.open(target) as picture:
        assert picture.width > 800
        assert picture.convert("L").getextrema()[0] < 128
    assert "matplotlib.pyplot" not in sys.modules
    assert sorted(path.name for path in tmp_path.iterdir()) == ["losses.png", "metrics.jsonl"]


def test_without_matplotlib_a_sentence_says_what_to_install(metrics, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ValueError, match="pip install matplotlib"):
        draw_losses(read_curves(metrics), title="a run")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('{"step": 1, "loss/a": 1}\n{"step": 2, "lo', "line 2 of .* is not a line of metrics"),
        ("[]\n", "line 1 of"),
        ('{"loss/a": 1}\n', "line 1 of"),
        ('{"step": 1, "lr": 0.1}\n', "no loss"),
        ("", "no loss"),
    ],
)
def test_a_file_without_losses_is_a_sentence(tmp_path, content, sentence):
    file = tmp_path / "metrics.jsonl"
    file.write_text(content)
    with pytest.raises(ValueError, match=sentence):
        read_curves(file)


def test_a_missing_file_is_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="there is no file"):
        read_curves(tmp_path / "metrics.jsonl")
