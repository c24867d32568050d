"""``simflow import tarflow``: the shape is read from the tensors, samples are the peer's, other files are refused."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from simflow.cli import main
from simflow.pipeline import Pipeline
from simflow.pixels import to_uint8
from simflow.posterior import Dequantised, FixedVariance, NoNoise
from simflow.sample import noise_of
from tests.golden.cases import TARFLOW, fill, with_var
from tests.parity.peers import TarFlow, path_of, shake


def state(name="classes"):
    case = TARFLOW[name]
    return with_var(fill(case.shapes), *case.shapes["blocks.0.pos_embed"][:1], case.latent_shape[0] * 4)


@pytest.fixture
def checkpoint(tmp_path):
    torch.save(state(), tmp_path / "model.pth")
    return tmp_path / "model.pth"


def test_a_checkpoint_becomes_a_model_that_samples(tmp_path, checkpoint, capsys):
    out = tmp_path / "model"
    words = ["import", "tarflow", str(checkpoint), "--out", str(out), "--classes", "cat,dog, wild,ox"]
    assert main([*words, "--noise-std", "0.07"]) == 0
    printed = capsys.readouterr().out
    assert "4: cat, dog, wild, ox" in printed
    assert "6 x 6, colour" in printed
    assert "standard deviation 0.07" in printed
    config = Pipeline.from_pretrained(out).config
    assert config.model.posterior == FixedVariance(std=0.07)
    assert main(["sample", str(out), "--num", "4", "--labels", "wild", "--out", str(tmp_path / "s")]) == 0
    assert main(["info", str(out)]) == 0
    assert main(words) == 2
    assert "is there already and not empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "posterior"),
    [
        ("afhq_model_8_768_8_8_0.07", FixedVariance(std=0.07)),
        ("imagenet64_model_2_768_8_8_uniform", Dequantised()),
        ("mine", NoNoise()),
    ],
)
def test_the_noise_is_told_by_the_name(tmp_path, name, posterior):
    torch.save(state("no classes"), tmp_path / f"{name}.pth")
    assert main(["import", "tarflow", str(tmp_path / f"{name}.pth"), "--out", str(tmp_path / "m")]) == 0
    pipe = Pipeline.from_pretrained(tmp_path / "m")
    assert pipe.model.posterior == posterior
    assert pipe.model.facts.class_names == ()
    assert (pipe.config.sample.refinement is not None) == isinstance(posterior, FixedVariance)


def test_weights_of_half_precision_are_widened(tmp_path):
    torch.save({key: value.half() for key, value in state().items()}, tmp_path / "model.pth")
    assert main(["import", "tarflow", str(tmp_path / "model.pth"), "--out", str(tmp_path / "m")]) == 0
    weights = Pipeline.from_pretrained(tmp_path / "m").model.state_dict()
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--classes", "cat,dog"], "the checkpoint has 4 classes, and --classes gives 2 names"),
        (["--noise-std", "-1"], "--noise-std must not be negative"),
        (["--train.batch", "3"], "'simflow import' takes no settings"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_mistakes(tmp_path, checkpoint, capsys, flags, sentence):
    assert main(["import", "tarflow", str(checkpoint), "--out", str(tmp_path / "m"), *flags]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            {"encoder.conv_in.weight": torch.zeros(3)},
            "not a TarFlow state dict: it has a tensor named 'encoder",
        ),
        ({}, "not a TarFlow state dict: it lacks"),
        ({"optimizer": {"lr": 1.0}}, "not a TarFlow state dict: it lacks"),
        (state() | {"blocks.1.proj_in.bias": torch.zeros(3)}, "has the shape"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_other_files_are_refused(tmp_path, capsys, content, sentence):
    torch.save(content, tmp_path / "model.pth")
    assert main(["import", "tarflow", str(tmp_path / "model.pth"), "--out", str(tmp_path / "m")]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
    assert main(["import", "tarflow", str(tmp_path / "none.pth"), "--out", str(tmp_path / "m")]) == 2
    assert "there is no file" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


@pytest.mark.skipif(path_of("tarflow") is None, reason="SIMFLOW_PEER_TARFLOW names no checkout")
@pytest.mark.parametrize("name", TARFLOW)
def test_a_state_dict_saved_by_the_peer_samples_the_peer_s_images(tmp_path, name):
    """Through the command and its files, guided where there are classes: equal up to one grey level."""
    case = TARFLOW[name]
    torch.manual_seed(3)
    peer = TarFlow(case)
    shake(peer.model)
    if not case.peer["nvp"]:
        peer.model.var.uniform_(0.3, 2.0)
    torch.save(peer.model.state_dict(), tmp_path / "model.pth")
    assert main(["import", "tarflow", str(tmp_path / "model.pth"), "--out", str(tmp_path / "m")]) == 0
    guided = ["--guidance", "0.7"] if case.classes else []
    words = ["sample", str(tmp_path / "m"), "--num", "6", *guided, "--out", str(tmp_path / "s")]
    assert main([*words, "--device", "cpu"]) == 0
    pipe = Pipeline.from_pretrained(tmp_path / "m")
    noise = noise_of(pipe.model, range(6), pipe.config.sample)
    labels = torch.arange(6) % case.classes if case.classes else torch.full((6,), -1)
    wanted = to_uint8(peer.reverse(noise, labels, guidance=0.7 if case.classes else 0))
    assert json.loads((tmp_path / "m" / "config.json").read_text())["config"]["name"] == "imported-tarflow"
    for seed, image in enumerate(wanted):
        with Image.open(tmp_path / "s" / f"{seed:06d}.png") as picture:
            ours = np.asarray(picture).reshape(case.latent_shape[1], case.latent_shape[2], -1)
        assert np.abs(ours.astype(int) - image.movedim(0, -1).numpy().astype(int)).max() <= 1
