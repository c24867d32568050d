"""Reading Apple's TarFlow checkpoints: the shape is inferred, other files are refused in one sentence."""

import pytest
import torch

from simflow.flow.apple import from_tarflow, read_tarflow
from tests.golden.cases import TARFLOW, fill, with_var


def state(name="classes", **changed):
    case = TARFLOW[name]
    tokens, numbers = case.shapes["blocks.0.pos_embed"][0], case.shapes["blocks.0.proj_in.weight"][1]
    weights = with_var(fill(case.shapes), tokens, numbers)
    masks = {f"blocks.{i}.attn_mask": torch.ones(tokens, tokens).tril() for i in range(3)}
    return weights | masks | changed


@pytest.mark.parametrize("name", TARFLOW)
def test_the_shape_is_inferred(name, tmp_path):
    case = TARFLOW[name]
    torch.save(state(name), tmp_path / "model.pth")
    read = read_tarflow(tmp_path / "model.pth")
    assert read.latent_shape == case.latent_shape
    assert read.classes == case.classes
    assert (read.config.patch, read.config.depths) == (2, (2, 2, 2))
    assert (read.config.block.width, read.config.block.heads) == (128, 2)
    assert read.config.block.scale == ("exp" if case.peer["nvp"] else "none")


def test_imported_weights_sample_the_same_image(tmp_path):
    torch.save(state(), tmp_path / "model.pth")
    read = read_tarflow(tmp_path / "model.pth")
    flow = read.config.build(latent_shape=read.latent_shape, classes=read.classes)
    flow.load_state_dict(read.state)
    case = TARFLOW["classes"]
    with torch.no_grad():
        noise = case.noise(flow)
        same = case.read(fill(case.shapes)).inverse(noise, case.labels())
        torch.testing.assert_close(flow.inverse(noise, case.labels()), same, atol=0, rtol=0)


@pytest.mark.parametrize("name", TARFLOW)
def test_noise_is_not_written_to(name):
    """Neither by a block in raster order nor by one that is reversed, guided or not (the original's writes)."""
    case = TARFLOW[name]
    flow = case.read(fill(case.shapes))
    noise = case.noise(flow)
    before = noise.clone()
    for rule in (None, *(ours for ours, _ in case.guided.values())):
        flow.inverse(noise, case.labels(), rule)
        assert torch.equal(noise, before)


def test_a_missing_file(tmp_path):
    with pytest.raises(ValueError, match="there is no file"):
        read_tarflow(tmp_path / "none.pth")


class Harmful:
    def __reduce__(self):
        return print, ("run",)


def test_a_file_that_would_run_code_is_refused(tmp_path, capsys):
    torch.save({"weights": Harmful()}, tmp_path / "harm.pth")
    with pytest.raises(ValueError, match="needs the pickled class print"):
        read_tarflow(tmp_path / "harm.pth")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 broken"])
def test_other_files_are_refused(content, tmp_path):
    (tmp_path / "model.pth").write_bytes(content)
    with pytest.raises(ValueError, match="truncated or damaged"):
        read_tarflow(tmp_path / "model.pth")


def test_other_contents_are_refused(tmp_path):
    torch.save({"optimizer": {"lr": 1.0}}, tmp_path / "opt.pth")
    with pytest.raises(ValueError, match="this is not a TarFlow state dict"):
        read_tarflow(tmp_path / "opt.pth")


def without(weights, *ends):
    return {name: tensor for name, tensor in weights.items() if not name.endswith(ends)}


@pytest.mark.parametrize(
    ("weights", "sentence"),
    [
        (state(**{"module.x": torch.zeros(1)}), "a tensor named 'module.x'"),
        ({}, "it lacks"),
        (without(state(), "var"), "it lacks what we call 'base.variance'"),
        (without(state(), "blocks.1.proj_in.bias"), "it lacks 'blocks.1.embed.bias'"),
        (without(state(), "blocks.2.class_embed"), "'blocks.2.classes.table'"),
        (state(**{"blocks.1.proj_in.bias": torch.zeros(3)}), r"\(3,\), not \(128,\)"),
        (state(**{"blocks.0.pos_embed": torch.zeros(8, 128)}), "this one has 8"),
        (state(**{"blocks.0.pos_embed": torch.zeros(9, 96)}), "the width 96"),
        (state(**{"blocks.0.proj_in.weight": torch.zeros(128, 7)}), "tokens of 7 numbers"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_other_state_dicts_are_refused(weights, sentence):
    with pytest.raises(ValueError, match=sentence):
        from_tarflow(weights)
