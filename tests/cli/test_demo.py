"""The demo's own evaluation: shared by processes, and of models that know no classes."""

import json
from unittest.mock import Mock

import pytest

from simflow import recipes
from simflow.cli import main
from simflow.cli.demo import FIGURES, SAID, figure_lines, known_figures
from simflow.evaluate.shards import sampling_of
from simflow.files import write_json
from simflow.settings import override
from simflow.train.metrics import NoLoss
from simflow.train.runs import RunFolder
from tests.whole.test_processes import two_processes
from tests.whole.tiny import words


def demo(folder):
    """A demo of three steps on tiny pictures."""
    given = words(folder)
    tiny = ["--data.path", given[given.index("--data") + 1], "--data.image_size", "16", "--train.batch", "4"]
    tiny += ["--model.prior.block.width", "16", "--model.autoencoder.widths", "[8, 8]"]
    return ["demo", "--out", str(folder / "demo"), "--steps", "3", "--device", "cpu", *tiny]


def test_two_processes_judge_as_one(tmp_path):
    command, file = demo(tmp_path), tmp_path / "demo" / "figures.json"
    done = two_processes(command)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("bits per dimension") == 1
    assert done.stderr.count("sampling 1000 images") == 1
    together = json.loads(file.read_text())
    file.unlink()
    assert main(command) == 0
    alone = json.loads(file.read_text())
    assert together.keys() == alone.keys()
    one, other = (
        {figure["name"]: figure["value"] for figure in record["reconstruction"]["figures"]}
        for record in (together, alone)
    )
    assert one == pytest.approx(other, rel=1e-4)
    held = "held_out"
    assert together["likelihood"][held] == pytest.approx(alone["likelihood"][held], rel=1e-4)
    one, other = together["classes"], alone["classes"]
    assert one["diversity"] == pytest.approx(other["diversity"], rel=1e-3)
    assert one["accuracy"] == pytest.approx(other["accuracy"], abs=2e-3)


def test_figures_are_not_said_again_of_another_way_of_sampling(tmp_path, unchecked):
    config = recipes.get("demo")
    record = dict.fromkeys(SAID) | {
        "run": {"step": 3},
        "reference": {"source": config.data.path},
        "samples": {"sampling": sampling_of(config.sample)},
    }
    write_json(tmp_path / FIGURES, record)
    fitted = Mock(run=RunFolder(tmp_path), state=Mock(step=3))
    assert known_figures(fitted, config) == record
    warmer = override(config, {"sample.temperature": 0.9})
    elsewhere = override(config, {"data.path": "pictures"})
    assert known_figures(fitted, warmer) is known_figures(fitted, elsewhere) is None
    fitted.state.step = 4
    assert known_figures(fitted, config) is None


def test_figures_that_were_no_numbers_are_said_again():
    figures = {
        "run": {"parameters": 1000},
        "classes": None,
        "reconstruction": {"figures": [{"name": "MSE", "value": 0.5}, {"name": "PSNR", "value": None}]},
        "likelihood": {"held_out": {"bits_per_dimension": None}},
        "left_out": [],
        "cost": {"seconds": 1.0, "seconds_training": 1.0, "peak_memory_gib": None},
    }
    assert "ELBO infinite bits per dimension, held out" in "\n".join(figure_lines(figures))


def test_a_model_without_classes(tmp_path, capsys):
    assert main([*demo(tmp_path), "--objective.label_drop", "1", "--sample.guidance", "null"]) == 0
    assert "class accuracy" not in capsys.readouterr().out
    assert json.loads((tmp_path / "demo" / "figures.json").read_text())["classes"]["accuracy"] is None


def test_without_a_loss_that_is_a_number_the_plot_alone_is_left_out(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("simflow.cli.demo.read_curves", no_loss)
    assert main(demo(tmp_path)) == 0
    assert "losses.png is left out: no loss was a number" in capsys.readouterr().err
    assert (tmp_path / "demo" / "samples.png").is_file()
    assert not (tmp_path / "demo" / "losses.png").exists()


def no_loss(metrics):
    raise NoLoss(f"there is no loss in {metrics}")
