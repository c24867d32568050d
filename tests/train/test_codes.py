"""Codes of a frozen encoder: the same training without encoding, exactly resumed, and nothing left behind."""

import json
import os
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from simflow import recipes
from simflow.autoencoder.compact import CompactAutoencoder
from simflow.cli import main
from simflow.data import load
from simflow.fitting import facts_of, fit, initial
from simflow.losses.alignment import AlignmentConfig
from simflow.pixels import to_float
from simflow.posterior import LearnedVariance
from simflow.recipes.stages import prior_only
from simflow.seeding import generator
from simflow.settings import override
from simflow.train import codes
from simflow.train.validation import ValidationConfig
from tests.test_fitting import Steps
from tests.whole.test_processes import two_processes
from tests.whole.tiny import SETTINGS, pictures, trained, words

ALONE = {
    "objective.routing.encoder": "frozen",
    "objective.routing.decoder": "frozen",
    "objective.reconstruction": "{type: PixelMean, weight: 0}",
}


def flags(settings):
    return [word for path, value in settings.items() for word in (f"--{path}", value)]


KEPT = ["--train.codes", "kept"]


@pytest.fixture
def config(tmp_path):
    made = override(recipes.get("demo"), SETTINGS)
    made = override(made, {"data.path": str(pictures(tmp_path / "pictures"))})
    return prior_only(made)


def coded(config, images):
    return initial(replace(config, train=replace(config.train, codes="kept")), facts_of(config, images), CPU)


CPU = torch.device("cpu")


def kept(folder, model, images, **choices):
    return codes.kept(folder, model, images, **{"flip": True, "dtype": "float32"} | choices)


def prior_alone(folder, origin, name, *more):
    """Trains the prior of a finished run alone, and gives the folder."""
    out = folder / name
    code = main([*words(folder), *flags(ALONE), "--start_from", str(origin), *more, "--out", str(out)])
    assert code == 0
    return out


def weights(run, step=4):
    folder = run / "checkpoints" / f"step-{step:07d}"
    return {file: load_file(folder / f"{file}.safetensors") for file in ("model", "ema", "optimizer")}


def said(run, name):
    """A figure over the steps of a run."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    found = [line[name] for line in lines if name in line]
    assert found
    return found


def test_they_are_what_the_encoder_makes_of_images_and_of_mirrored_ones(tmp_path, config, monkeypatch):
    monkeypatch.setattr(codes, "BATCH", 5)
    images = load(config.data)
    model = coded(config, images).model
    found = kept(tmp_path / "codes", model, images)
    assert len(found) == len(images) == 24
    indices, mirrored = torch.tensor([3, 23, 3, 0]), torch.tensor([False, True, True, False])
    shown = found.shown(indices, mirrored)
    assert shown.dtype == torch.float16
    with torch.no_grad():
        expected = model.autoencoder.encode(to_float(images.shown(indices, mirrored)))
    torch.testing.assert_close(shown.float(), expected, rtol=2**-11, atol=1e-6)
    assert not torch.equal(shown[0], shown[2])
    every = torch.arange(24)
    with torch.no_grad():
        each = [model.autoencoder.encode(to_float(images.shown(every, every >= start))) for start in (0, 24)]
    for start, all_of_them in zip((0, 24), each, strict=True):
        torch.testing.assert_close(
            found.shown(every, every >= start).float(), all_of_them, rtol=2**-11, atol=1e-6
        )
    assert torch.equal(found.shown(indices, None)[2], shown[0])
    assert torch.equal(found.labels, images.labels)
    shown += 1  # a tensor of its own
    assert not torch.equal(found.shown(indices, mirrored), shown)


def test_the_encoder_computes_as_in_a_step(tmp_path, config):
    images = load(config.data)
    model, rows = coded(config, images).model, torch.arange(24)
    rough = kept(tmp_path / "rough", model, images, dtype="bfloat16").shown(rows, None)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        expected = model.autoencoder.encode(to_float(images.images(rows)))
    torch.testing.assert_close(rough.float(), expected.float(), rtol=1e-2, atol=1e-2)
    exact = kept(tmp_path / "exact", model, images).shown(rows, None)
    assert (rough.float() - exact.float()).abs().mean() > 1e-4


def test_the_time_of_encoding_is_that_of_the_run(tmp_path, keeping, monkeypatch):
    fill = codes.fill
    monkeypatch.setattr(codes, "fill", lambda *rest: time.sleep(0.5) or fill(*rest))
    assert finished(keeping, tmp_path / "run")
    assert said(tmp_path / "run", "seconds")[0] > 0.5


def test_losses_are_those_of_the_images(tmp_path, config):
    images = load(config.data)
    fresh, short = initial(config, facts_of(config, images), CPU), coded(config, images)
    rows = torch.arange(6)
    seen = kept(tmp_path / "codes", short.model, images).shown(rows, None)
    labels = images.labels[rows]
    one = fresh(fresh.ready(images.images(rows)), labels, generator(0, "a")).named()
    two = short(short.ready(seen), labels, generator(0, "a")).named()
    assert one.keys() == two.keys() == {"total", "prior"}
    assert two["total"].item() == pytest.approx(one["total"].item(), rel=1e-3)


def test_a_prior_learns_what_it_learns_from_images_and_no_codes_stay(tmp_path, monkeypatch):
    origin = trained(tmp_path)
    fresh, seen = prior_alone(tmp_path, origin, "fresh"), []
    encode = CompactAutoencoder.encode
    monkeypatch.setattr(
        CompactAutoencoder, "encode", lambda self, images: seen.append(len(images)) or encode(self, images)
    )
    run = prior_alone(tmp_path, origin, "kept", *KEPT)
    assert sum(seen) == 2 * 24
    assert not (run / "codes").exists()
    assert said(run, "loss/total") == pytest.approx(said(fresh, "loss/total"), rel=2e-3)
    again = weights(run)
    before = load_file(origin / "checkpoints" / "step-0000004" / "ema.safetensors")
    moved = [name for name, tensor in again["ema"].items() if not torch.equal(tensor, before[name])]
    assert moved
    assert all(name.startswith("prior.") for name in moved)


def finished(config, folder, *, until=None):
    """Trains until a step is done, and gives whether that was the end."""
    counted = Steps()
    done = fit(config, folder, listeners=lambda run, loss: [counted], until=lambda: counted.done == until)
    return done.finished


@pytest.fixture
def keeping(config):
    """Every image is kept, and the weights are those of the seed."""
    return replace(config, start_from=None, train=replace(config.train, codes="kept"))


def test_a_resumed_run_ends_in_the_same_bytes_and_encodes_nothing_again(tmp_path, keeping, monkeypatch):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert finished(keeping, whole)
    assert not finished(keeping, parts, until=2)
    assert sorted(path.name for path in (parts / "codes").iterdir()) == ["codes.json", "codes.npy"]
    with monkeypatch.context() as patched:
        patched.setattr(codes, "fill", lambda *_: pytest.fail("images were encoded again"))
        assert finished(keeping, parts)
    for file, tensors in weights(whole).items():
        assert all(tensor.equal(weights(parts)[file][name]) for name, tensor in tensors.items())
    assert not (parts / "codes").exists()


@pytest.mark.parametrize(
    "harm", ["no file", "half a file", "no record", "other images", "other encoder", "unmirrored"]
)
def test_codes_that_are_damaged_or_of_something_else_are_made_again(tmp_path, keeping, harm):
    images = load(keeping.data)
    model, folder = coded(keeping, images).model, tmp_path / "codes"
    rows = torch.arange(24)
    before = kept(folder, model, images).shown(rows, rows >= 0)
    if harm == "no file":
        (folder / "codes.npy").unlink()
    elif harm == "half a file":
        os.truncate(folder / "codes.npy", (folder / "codes.npy").stat().st_size // 2)
    elif harm == "no record":
        (folder / "codes.json").unlink()
    elif harm == "other images":
        images.fingerprint = "0" * 16
    elif harm == "other encoder":
        with torch.no_grad():
            next(model.autoencoder.encoder.parameters()).mul_(2)
    else:
        codes.forget(folder)
        kept(folder, model, images, flip=False)
    after = kept(folder, model, images).shown(rows, rows >= 0)
    assert torch.equal(after, before) == (harm != "other encoder")
    assert json.loads((folder / "codes.json").read_text())["shape"] == [2, 24, 4, 2, 2]


def test_a_record_never_speaks_of_other_codes(tmp_path, keeping, monkeypatch):
    """Interrupted between the file and its record, codes of other images do not pass for those of the first."""
    images = load(keeping.data)
    model, folder, rows = coded(keeping, images).model, tmp_path / "codes", torch.arange(24)
    before = kept(folder, model, images).shown(rows, None)
    own, images.fingerprint = images.fingerprint, "0" * 16
    with monkeypatch.context() as patched:
        patched.setattr(codes, "write_json", lambda *_: sys.exit(1))
        patched.setattr(CompactAutoencoder, "encode", lambda self, images: torch.zeros(len(images), 4, 2, 2))
        with pytest.raises(SystemExit):
            kept(folder, model, images)
    images.fingerprint = own
    assert torch.equal(kept(folder, model, images).shown(rows, None), before)


def test_what_fails_on_the_way_leaves_no_codes(tmp_path, keeping, monkeypatch):
    images = load(keeping.data)
    model = coded(keeping, images).model
    monkeypatch.setattr(
        CompactAutoencoder, "encode", lambda self, images: torch.full((len(images), 4, 2, 2), 1e5)
    )
    with pytest.raises(ValueError, match="too large to be kept in 16 bits"):
        kept(tmp_path / "codes", model, images)
    assert list((tmp_path / "codes").iterdir()) == []


def test_without_mirroring_there_is_one_side(tmp_path, keeping):
    images = load(keeping.data)
    model = coded(keeping, images).model
    kept(tmp_path / "codes", model, images, flip=False)
    assert np.load(tmp_path / "codes" / "codes.npy").shape == (1, 24, 4, 2, 2)


def test_a_learned_variance_keeps_its_moments_and_held_out_images_are_scored(tmp_path, keeping):
    """The figures of held-out images are those of a run that is shown images."""
    model = replace(keeping.model, posterior=LearnedVariance())
    train = replace(keeping.train, validation=ValidationConfig(every=4))
    config = replace(keeping, model=model, train=train)
    assert fit(config, tmp_path / "kept").finished
    assert fit(replace(config, train=replace(train, codes="fresh")), tmp_path / "fresh").finished
    for name in ("loss/total", "held_out/total"):
        assert said(tmp_path / "kept", name) == pytest.approx(said(tmp_path / "fresh", name), rel=2e-3)


def test_features_to_align_with_need_images():
    alone = prior_only(recipes.get("demo")).objective
    assert alone.needs_only_codes
    assert not replace(alone, alignment=AlignmentConfig()).needs_only_codes


@pytest.mark.parametrize(
    "needing",
    [
        {"objective.routing.encoder": "all"},
        {"objective.reconstruction": "PixelMean"},
        {"objective.perceptual": "SqueezeNetDistance"},
    ],
    ids=str,
)
def test_terms_that_need_images_are_refused_in_a_sentence(tmp_path, capsys, needing):
    run = tmp_path / "run"
    assert main([*words(tmp_path), *flags(ALONE | needing), *KEPT, "--out", str(run)]) != 0
    assert "train.codes kept is for a prior that learns alone" in capsys.readouterr().err
    assert not run.exists()


def test_a_run_may_go_on_the_other_way(tmp_path, keeping):
    assert not finished(keeping, tmp_path / "run", until=2)
    fresh = replace(keeping, train=replace(keeping.train, codes="fresh"))
    assert finished(fresh, tmp_path / "run")
    assert not (tmp_path / "run" / "codes").exists()


def test_two_processes_share_the_encoding(tmp_path, monkeypatch):
    """Each makes every second batch, and the file is that of one process: a stopped run shows it."""
    origin = trained(tmp_path)
    common = [*words(tmp_path), *flags(ALONE), *KEPT, "--start_from", str(origin)]
    common += ["--model.posterior", "NoNoise", "--objective.label_drop", "0", "--train.optimizer.eps", "1e-4"]
    done = two_processes([*common, "--out", str(tmp_path / "two")])
    assert done.returncode == 0, done.stderr
    assert main([*common, "--out", str(tmp_path / "one")]) == 0
    for name, tensor in weights(tmp_path / "one")["ema"].items():
        torch.testing.assert_close(
            weights(tmp_path / "two")["ema"][name], tensor, rtol=1e-3, atol=2e-5, msg=name
        )
    assert not (tmp_path / "two" / "codes").exists()
