"""Losses on held-out images during training: of the average, of the same noise each time, and without any effect."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from simflow import recipes
from simflow.cli import main
from simflow.data import load
from simflow.data.held_out import held_out
from simflow.fitting import facts_of, fit, initial
from simflow.objective import Losses, Objective
from simflow.pixels import to_float
from simflow.seeding import generator
from simflow.settings import override
from simflow.train import checkpoint
from simflow.train.validation import Validation, ValidationConfig
from tests.whole.test_processes import two_processes
from tests.whole.tiny import SETTINGS, pictures, words

LOOKS = ["--train.validation.every", "3"]


def lines(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def looks(run):
    return {
        line["step"]: {key: value for key, value in line.items() if key.startswith("held_out/")}
        for line in lines(run)
        if "held_out/total" in line
    }


@pytest.fixture
def config(tmp_path):
    made = override(recipes.get("demo"), SETTINGS)
    return override(made, {"data.path": str(pictures(tmp_path / "pictures"))})


def test_they_come_every_few_steps_and_at_the_end_even_between_lines(tmp_path):
    run = tmp_path / "run"
    assert main([*words(tmp_path), *LOOKS, "--train.log_every", "2", "--steps", "7", "--out", str(run)]) == 0
    assert [line["step"] for line in lines(run)] == [2, 3, 4, 6, 7]
    assert list(looks(run)) == [3, 6, 7]
    assert list(looks(run)[3]) == [f"held_out/{name}" for name in ("total", "reconstruction", "prior", "mse")]


def test_they_change_nothing_in_training(tmp_path):
    for name, flags in (("with", LOOKS), ("without", [])):
        assert main([*words(tmp_path), *flags, "--out", str(tmp_path / name)]) == 0
    ends = [tmp_path / name / "checkpoints" / "step-0000004" for name in ("with", "without")]
    for file in ("model", "ema", "optimizer"):
        one, two = (load_file(end / f"{file}.safetensors") for end in ends)
        assert all(tensor.equal(two[name]) for name, tensor in one.items())


def test_they_are_those_of_the_averaged_weights_on_the_images_not_trained_on(tmp_path, config):
    run = tmp_path / "run"
    train = replace(config.train, validation=ValidationConfig(every=4))
    config = replace(config, train=train)
    done = fit(config, run)
    model = done.objective.model
    model.load_state_dict(load_file(checkpoint.latest(run / "checkpoints") / "ema.safetensors"))
    images, called = held_out(config.data)
    assert called.endswith("(test)")
    with torch.no_grad():
        expected = Objective(config.objective, model).eval()(
            to_float(images.images(range(12))), images.labels, generator(0, "validation", 0)
        )
    for name, value in expected.named().items():
        assert looks(run)[4][f"held_out/{name}"] == pytest.approx(float(value), rel=1e-6)


def test_the_validation_split_is_asked_before_the_test_split(tmp_path, config):
    (tmp_path / "pictures" / "test").rename(tmp_path / "pictures" / "validation")
    for name in ("bag", "boot", "coat"):
        source = tmp_path / "pictures" / "train" / name / "0.png"
        target = tmp_path / "pictures" / "test" / name / "0.png"
        target.parent.mkdir(parents=True)
        target.write_bytes(source.read_bytes())
    _, called = held_out(config.data, likely=("validation", "test"))
    assert called.endswith("(validation)")


def test_no_two_batches_have_the_noise_of_one_another_and_every_image_counts_once(
    tmp_path, config, monkeypatch
):
    """Seven images in batches of three: the mean is over images, not over batches."""
    monkeypatch.setattr("simflow.train.validation.BATCH", 3)
    images = load(config.data)
    seen = []

    def told(self, pixels, labels, own):
        seen.append((len(pixels), torch.rand(1, generator=own).item()))
        return Losses(total=torch.tensor(float(len(pixels))))

    monkeypatch.setattr(Objective, "forward", told)
    objective = initial(config, facts_of(config, images), torch.device("cpu"))
    config = ValidationConfig(images=7)
    losses = Validation(objective, images, config, seed=0, dtype="float32", best=tmp_path).losses
    assert losses() == {"total": pytest.approx((3 * 3 + 3 * 3 + 1) / 7)}
    assert losses()
    assert [size for size, _ in seen] == [3, 3, 1] * 2
    assert len({noise for _, noise in seen}) == 3
    assert seen[:3] == seen[3:]


def test_a_resumed_run_says_the_same(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert main([*words(tmp_path), *LOOKS, "--steps", "6", "--out", str(whole)]) == 0
    assert main([*words(tmp_path), "--steps", "3", "--out", str(parts)]) == 0
    assert looks(parts) == {}
    assert main([*words(tmp_path), *LOOKS, "--steps", "6", "--out", str(parts)]) == 0
    assert looks(parts)[6] == looks(whole)[6]


def test_two_processes_say_the_same(tmp_path):
    """The same weights: one process has trained them, and another step at no rate moves them by nothing."""
    common = [*words(tmp_path), "--train.optimizer.lr", "0", "--steps", "1", *LOOKS]
    assert main([*common, "--out", str(tmp_path / "one")]) == 0
    done = two_processes([*common, "--out", str(tmp_path / "two")])
    assert done.returncode == 0, done.stderr
    one, two = (looks(tmp_path / name)[1] for name in ("one", "two"))
    assert one == pytest.approx(two, rel=1e-6)


def test_images_that_are_all_trained_on_are_no_validation(tmp_path, capsys):
    words(tmp_path)
    whole = str(tmp_path / "pictures" / "train")
    command = [*words(tmp_path)[:4], "--data", whole, "--device", "cpu", "--out", str(tmp_path / "run")]
    assert main([*command, *LOOKS]) == 2
    assert "all of" in (said := capsys.readouterr().err)
    assert "--data.hold_out 0.1 keeps some of them apart" in said
    assert not (tmp_path / "run").exists()
    assert main([*command, *LOOKS, "--data.hold_out", "0.3"]) == 0
    assert list(looks(tmp_path / "run")) == [3, 4]


def test_a_run_on_all_splits_has_no_held_out_images(tmp_path, capsys):
    assert main([*words(tmp_path), *LOOKS, "--data.split", "null", "--out", str(tmp_path / "run")]) == 2
    assert "train.validation needs images that are not trained on" in capsys.readouterr().err


def test_they_are_said(tmp_path, capsys):
    assert main([*words(tmp_path), *LOOKS, "--out", str(tmp_path / "run")]) == 0
    total = looks(tmp_path / "run")[3]["held_out/total"]
    assert f"(held out {total:.4f})" in capsys.readouterr().err


def told(monkeypatch, totals):
    """Lets looks find these totals, one after the other."""
    given = iter(totals)
    monkeypatch.setattr(Validation, "losses", lambda self: {"total": next(given)})


def test_the_weights_of_the_lowest_loss_are_kept_as_a_saved_model(tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"
    every = ["--train.validation.every", "1", "--train.validation.best", "true", "--train.save_every", "1"]
    told(monkeypatch, [3.0, 2.0, 2.0, 2.5])
    assert main([*words(tmp_path), *every, "--train.keep", "null", "--out", str(run)]) == 0
    average = load_file(run / "checkpoints" / "step-0000002" / "ema.safetensors")
    best = load_file(run / "best" / "model.safetensors")
    assert all(tensor.equal(best[name]) for name, tensor in average.items())
    assert sorted(path.name for path in run.glob("best*")) == ["best"]
    assert not list(run.glob(".part-*")) + list(run.glob(".old-*"))
    assert "step 2 has the lowest held-out loss, 2.0000" in capsys.readouterr().err
    assert (
        main(["sample", str(run / "best"), "--num", "1", "--out", str(tmp_path / "s"), "--device", "cpu"])
        == 0
    )


def test_a_resumed_run_remembers_the_lowest_loss(tmp_path, monkeypatch):
    run = tmp_path / "run"
    every = ["--train.validation.every", "1", "--train.validation.best", "true"]
    told(monkeypatch, [2.0, 3.0])
    assert main([*words(tmp_path), *every, "--steps", "2", "--out", str(run)]) == 0
    before = (run / "best" / "model.safetensors").read_bytes()
    told(monkeypatch, [2.5, 1.0])
    assert main([*words(tmp_path), *every, "--steps", "3", "--out", str(run)]) == 0
    assert (run / "best" / "model.safetensors").read_bytes() == before
    assert main([*words(tmp_path), *every, "--steps", "4", "--out", str(run)]) == 0
    assert (run / "best" / "model.safetensors").read_bytes() != before


def test_the_best_weights_are_kept_only_if_asked_for(tmp_path):
    assert main([*words(tmp_path), *LOOKS, "--out", str(tmp_path / "run")]) == 0
    assert not (tmp_path / "run" / "best").exists()
