"""Losses on held-out images during training: of the average, of the same noise each time, and without any effect."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from simflow import recipes
from simflow.cli import main
from simflow.data import DataConfig, load
from simflow.data.held_out import held_out
from simflow.fitting import facts_of, fit, initial
from simflow.objective import Losses, Objective
from simflow.pixels import to_float
from simflow.seeding import generator
from simflow.settings import override
from simflow.train import checkpoint
from simflow.train.ema import EmaConfig
from simflow.train.loop import Clock
from simflow.train.state import TrainState
from simflow.train.step import Stepped
from simflow.train.validation import Validation, ValidationConfig, labels_for, part_for
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
    shutil.copytree(tmp_path / "pictures" / "test", tmp_path / "pictures" / "validation")
    assert part_for(config.data).split == "validation"
    assert part_for(replace(config.data, split="validation")).split == "test"


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
    options = {"seed": 0, "dtype": "float32", "best": tmp_path}
    losses = Validation(objective, images, images.labels, config, **options).losses
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
    assert "--data.hold_out 0.1 keeps some apart" in said
    assert not (tmp_path / "run").exists()
    assert main([*command, *LOOKS, "--data.hold_out", "0.3"]) == 0
    assert list(looks(tmp_path / "run")) == [3, 4]


def test_a_run_on_all_splits_has_no_held_out_images(tmp_path, capsys):
    for more in ([], ["--dry-run"]):
        command = [*words(tmp_path), *LOOKS, "--data.split", "null", "--out", str(tmp_path / "run"), *more]
        assert main(command) == 2
        assert "all of" in (said := capsys.readouterr().err)
        assert "--data.split train leaves some" in said


def set_of(folder, name, labels, *, size=16, classes=None):
    """An image of each label."""
    (folder / name).mkdir()
    np.savez(folder / name / "x.npz", images=np.zeros((len(labels), size, size), np.uint8), labels=labels)
    if classes:
        (folder / name / "classes.txt").write_text("\n".join(classes))
    return load(DataConfig(path=str(folder / name / "x.npz"), image_size=size, channels=1))


def test_labels_of_held_out_images_are_those_of_their_names(tmp_path):
    images = set_of(tmp_path, "train", [0, 1, 2], classes=["ant", "bee", "cat"])
    unseen = set_of(tmp_path, "test", [0, 1, 1], classes=["cat", "ant"])
    assert labels_for(unseen, images).tolist() == [2, 0, 0]
    assert labels_for(images, images).tolist() == [0, 1, 2]
    fewer = set_of(tmp_path, "fewer", [0, 1])
    assert labels_for(fewer, set_of(tmp_path, "more", [0, 1, 2])).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"labels": [0, 3]}, "held-out images are of classes that are not trained: 3"),
        ({"labels": [0], "size": 8}, "the held-out images are 1 x 8 x 8 .* they would be 1 x 16 x 16"),
    ],
)
def test_held_out_images_that_do_not_fit_are_refused_before_the_run(tmp_path, config, options, sentence):
    images = set_of(tmp_path, "train", [0, 1, 2])
    unseen = set_of(tmp_path, "test", **options)
    train = replace(config.train, validation=ValidationConfig(every=2))
    with pytest.raises(ValueError, match=sentence):
        fit(replace(config, train=train), tmp_path / "run", images=images, unseen=unseen)
    assert not (tmp_path / "run").exists()


def test_held_out_images_that_cannot_be_read_are_named(tmp_path, capsys):
    words(tmp_path)
    (tmp_path / "pictures" / "test" / "bag" / "0.png").write_text("no picture")
    assert main([*words(tmp_path), *LOOKS, "--out", str(tmp_path / "run")]) == 0
    assert "test/bag/0.png" in capsys.readouterr().err


def test_a_total_with_a_discriminator_is_not_set_beside_one_without(tmp_path, capsys):
    judge = "{network: {filters: 8, layers: 1}, start_step: 0, head_start: 0}"
    command = [*words(tmp_path), *LOOKS, "--objective.adversarial", judge, "--out", str(tmp_path / "run")]
    assert main(command) == 0
    line = next(line for line in capsys.readouterr().err.splitlines() if "step 4/4" in line)
    assert re.search(r"total -?[\d.]+, ", line)
    assert re.search(r"prior -?[\d.]+ \(held out", line)


def test_looking_is_no_part_of_the_speed(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("simflow.train.loop.time.monotonic", lambda: now[0])
    model = torch.nn.Linear(1, 1)
    state = TrainState(modules={"model": model}, optimizers={}, ema=EmaConfig().build(model))
    clock = Clock(state)

    def read():
        now[0] += 2
        state.images_seen += 8
        stepped = Stepped({"total": torch.tensor(0.0)}, torch.tensor(0.0), torch.tensor(0.0))
        return clock.read(stepped, 0.1, torch.tensor(0.0))

    assert read().images_per_second == 4
    with clock.paused():
        now[0] += 100
    assert read().images_per_second == 4
    assert read().seconds == 106


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


def test_another_choice_of_images_has_a_lowest_loss_of_its_own(tmp_path, monkeypatch):
    run = tmp_path / "run"
    every = ["--train.validation.every", "1", "--train.validation.best", "true"]
    told(monkeypatch, [1.0, 2.0])
    few = ["--train.validation.images", "3"]
    assert main([*words(tmp_path), *every, *few, "--steps", "2", "--out", str(run)]) == 0
    before = (run / "best" / "model.safetensors").read_bytes()
    told(monkeypatch, [5.0, 6.0])
    assert main([*words(tmp_path), *every, "--steps", "4", "--out", str(run)]) == 0
    assert (run / "best" / "model.safetensors").read_bytes() != before


def test_what_else_lies_in_the_folders_is_left_alone(tmp_path, monkeypatch):
    run = tmp_path / "run"
    every = ["--train.validation.every", "1", "--train.validation.best", "true"]
    told(monkeypatch, [4.0, 3.0, 2.0, 1.0])
    assert main([*words(tmp_path), *every, "--steps", "2", "--out", str(run)]) == 0
    others = [run / "best" / "evaluation.json", run / ".part-plan-cpu-16.json"]
    for file in others:
        file.write_text("{}")
    assert main([*words(tmp_path), *every, "--steps", "4", "--out", str(run)]) == 0
    assert all(file.is_file() for file in others)
    assert checkpoint.step_behind(run / "best") == 4


def test_the_best_weights_are_kept_only_if_asked_for(tmp_path):
    assert main([*words(tmp_path), *LOOKS, "--out", str(tmp_path / "run")]) == 0
    assert not (tmp_path / "run" / "best").exists()
