"""What is read from a file of metrics is what was logged, and a damaged one is told in a sentence."""

import json

import numpy as np
import pytest

from simflow.train.metrics import read_curves, read_held_out, read_lines


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


def test_lines_are_read_as_they_are(metrics):
    lines = read_lines(metrics)
    assert [line["step"] for line in lines] == [*range(1, 401), 400]
    assert lines[4] == {"step": 5, "images": 320, "lr": 1e-3, "grad_norm": 1.0} | {
        "loss/total": 0.4,
        "loss/prior": None,
        "loss/mse": 0.1,
        "loss/my_term": -5,
    }


def test_losses_on_held_out_images_are_curves_of_their_own(tmp_path):
    file = tmp_path / "metrics.jsonl"
    lines = [{"step": step, "loss/total": 2.0, "loss/prior": 1.0} for step in range(1, 9)]
    for line in lines[3::4]:
        line["held_out/prior"] = 1 + line["step"]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    unseen = read_held_out(file)
    assert list(unseen) == ["prior"]
    assert (unseen["prior"].steps.tolist(), unseen["prior"].values.tolist()) == ([4, 8], [5.0, 9.0])
    assert list(read_curves(file)) == ["total", "prior"]


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
