"""Importing published weights: wrappers, prefixes, mean rows, diffusers' names, unfit files."""

import argparse
import json

import pytest
import torch
from safetensors.torch import save_file

from simflow.autoencoder.kl import KLAutoencoder, KLConfig
from simflow.autoencoder.pretrained import ldm_names, load_weights

CONFIG = KLConfig(latent_channels=3, width=8, multipliers=(1, 2, 2), encoder_blocks=2, normalize=False)


def build(seed: int, *, moments: int, config: KLConfig = CONFIG) -> KLAutoencoder:
    torch.manual_seed(seed)
    return config.build(image_channels=3, moments=moments)


def published() -> KLAutoencoder:
    """What LDM would have trained: two moments, decoder and all."""
    return build(1, moments=2)


@pytest.fixture
def images():
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


def same(one: KLAutoencoder, other: KLAutoencoder, images) -> bool:
    """Whether the means and the reconstructions of both agree to 1e-6."""
    mean = one.encode(images)[:, :3]
    close = torch.allclose(mean, other.encode(images)[:, :3], rtol=0, atol=1e-6)
    return close and torch.allclose(one.decode(mean), other.decode(mean), rtol=0, atol=1e-6)


@pytest.mark.parametrize("moments", [1, 2])
@pytest.mark.parametrize(
    ("name", "pack"),
    [
        (
            "ldm.ckpt",
            lambda state: {"epoch": 3, "state_dict": {**state, "loss.discriminator.weight": torch.ones(2)}},
        ),
        ("mar.ckpt", lambda state: {"model": state}),
        ("vavae.pt", lambda state: {"state_dict": {**state, "foundation_model.w": torch.ones(1)}}),
        ("sd.pth", lambda state: {"state_dict": {f"first_stage_model.{key}": state[key] for key in state}}),
        ("ddp.pt", lambda state: {f"module.{key}": state[key] for key in state}),
        ("ema.pt", lambda state: {"model": {"x": torch.ones(1)}, "model_ema": state}),
        ("bare.pt", dict),
    ],
)
def test_an_ldm_checkpoint_gives_the_ldm_mean(tmp_path, images, name, pack, moments):
    source = published()
    torch.save(pack(source.state_dict()), tmp_path / name)
    target = build(2, moments=moments)
    assert not same(source, target, images)
    load_weights(target, tmp_path / name)
    assert same(source, target, images)
    assert target.encode(images).shape[1] == 3 * moments


def test_first_stage_of_a_whole_model_is_found_in_safetensors(tmp_path, images):
    source = published()
    state = {f"first_stage_model.{name}": tensor for name, tensor in source.state_dict().items()}
    state["model.diffusion_model.input.weight"] = torch.ones(2)
    state["first_stage_model.loss.logvar"] = torch.ones(1)
    save_file(state, tmp_path / "whole.safetensors")
    target = build(2, moments=1)
    load_weights(target, str(tmp_path / "whole.safetensors"))
    assert same(source, target, images)


def test_weights_take_the_dtype_of_the_autoencoder(tmp_path):
    source = published()
    save_file(source.half().state_dict(), tmp_path / "half.safetensors")
    target = build(2, moments=1).double()
    load_weights(target, tmp_path / "half.safetensors")
    assert target.quant_conv.weight.dtype == torch.float64
    assert torch.equal(target.quant_conv.weight, source.quant_conv.weight[:3].double())


def diffusers_names(state: dict[str, torch.Tensor], *, levels: int, old: bool) -> dict[str, torch.Tensor]:
    """LDM's names -> diffusers', by plain replacement; the inverse of what is tested."""
    old_or_new = ("query", "key", "value", "proj_attn") if old else ("to_q", "to_k", "to_v", "to_out.0")
    renamed = {}
    for name, tensor in state.items():
        parts = name.split(".")
        if "attn" in name:
            swap = dict(zip(("q", "k", "v", "proj_out"), old_or_new, strict=True)) | {"norm": "group_norm"}
            parts[-2] = swap[parts[-2]]
            tensor = tensor.flatten(1) if tensor.ndim == 4 else tensor
        if parts[1] in ("down", "up"):
            level = int(parts[2]) if parts[1] == "down" else levels - 1 - int(parts[2])
            kinds = {"block": "resnets", "attn": "attentions"}
            kinds |= {"downsample": "downsamplers.0", "upsample": "upsamplers.0"}
            parts[1:4] = [f"{parts[1]}_blocks", str(level), kinds[parts[3]]]
        if parts[1] == "mid":
            where = {"block_1": "resnets.0", "block_2": "resnets.1", "attn_1": "attentions.0"}
            parts[1:3] = ["mid_block", where[parts[2]]]
        swap = {"nin_shortcut": "conv_shortcut", "norm_out": "conv_norm_out"}
        renamed[".".join(swap.get(part, part) for part in parts)] = tensor
    return renamed


@pytest.mark.parametrize(
    ("diffusers", "ldm"),
    [
        ("encoder.conv_in.weight", "encoder.conv_in.weight"),
        ("encoder.down_blocks.0.resnets.0.norm1.weight", "encoder.down.0.block.0.norm1.weight"),
        ("encoder.down_blocks.1.resnets.0.conv_shortcut.bias", "encoder.down.1.block.0.nin_shortcut.bias"),
        ("encoder.down_blocks.2.downsamplers.0.conv.weight", "encoder.down.2.downsample.conv.weight"),
        ("encoder.down_blocks.3.attentions.1.to_q.bias", "encoder.down.3.attn.1.q.bias"),
        ("encoder.mid_block.attentions.0.group_norm.weight", "encoder.mid.attn_1.norm.weight"),
        ("encoder.mid_block.attentions.0.query.bias", "encoder.mid.attn_1.q.bias"),
        ("encoder.mid_block.attentions.0.to_out.0.bias", "encoder.mid.attn_1.proj_out.bias"),
        ("encoder.mid_block.resnets.1.conv2.weight", "encoder.mid.block_2.conv2.weight"),
        ("encoder.conv_norm_out.weight", "encoder.norm_out.weight"),
        ("decoder.mid_block.attentions.0.proj_attn.bias", "decoder.mid.attn_1.proj_out.bias"),
        ("decoder.up_blocks.0.resnets.2.conv1.weight", "decoder.up.3.block.2.conv1.weight"),
        ("decoder.up_blocks.0.upsamplers.0.conv.bias", "decoder.up.3.upsample.conv.bias"),
        ("decoder.up_blocks.3.resnets.0.norm2.bias", "decoder.up.0.block.0.norm2.bias"),
        ("decoder.conv_norm_out.bias", "decoder.norm_out.bias"),
        ("quant_conv.weight", "quant_conv.weight"),
        ("unheard.of", "unheard.of"),
    ],
)
def test_names_of_diffusers(diffusers, ldm):
    deepest = {"encoder.down_blocks.3.resnets.0.norm1.weight": torch.ones(1)}
    tensor = torch.ones(2)
    assert ldm_names({**deepest, diffusers: tensor})[ldm] is tensor


def test_linear_attention_of_diffusers_becomes_a_convolution():
    weight = torch.randn(4, 4)
    (converted,) = ldm_names({"decoder.mid_block.attentions.0.to_v.weight": weight}).values()
    assert torch.equal(converted, weight.reshape(4, 4, 1, 1))


@pytest.mark.parametrize("old", [False, True])
def test_a_diffusers_folder(tmp_path, images, old):
    source = published()
    save_file(
        {
            name: tensor.contiguous()
            for name, tensor in diffusers_names(source.state_dict(), levels=3, old=old).items()
        },
        tmp_path / "diffusion_pytorch_model.safetensors",
    )
    target = build(2, moments=1)
    with pytest.raises(ValueError, match=r"no config\.json"):
        load_weights(target, tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "UNet2DModel"}))
    with pytest.raises(ValueError, match="AutoencoderKL"):
        load_weights(target, tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "AutoencoderKL", "norm_num_groups": 8}))
    with pytest.raises(ValueError, match="8 groups"):
        load_weights(target, tmp_path)
    narrow = {"_class_name": "AutoencoderKL", "norm_num_groups": 32, "block_out_channels": [32, 64]}
    (tmp_path / "config.json").write_text(json.dumps(narrow))
    with pytest.raises(ValueError, match="32 groups, this autoencoder 32 channels in 8"):
        load_weights(target, tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="not valid JSON"):
        load_weights(target, tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "AutoencoderKL", "norm_num_groups": 32}))
    load_weights(target, tmp_path)
    assert same(source, target, images)


def without(state, name):
    return {key: tensor for key, tensor in state.items() if key != name}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda state: without(state, "decoder.up.1.block.0.conv1.bias"),
            r"lacks 'decoder\.up\.1\.block\.0\.conv1\.bias'",
        ),
        (lambda state: {**state, "decoder.extra": torch.ones(1)}, r"it has 'decoder\.extra', which"),
        (
            lambda state: {**state, "decoder.norm_out.bias": torch.ones(4)},
            r"'decoder\.norm_out\.bias' has the shape \(4,\)",
        ),
        (lambda state: {"weight": torch.ones(1)}, "not an autoencoder.*first tensor is 'weight'"),
        (lambda state: {"note": "no tensors"}, "not an autoencoder"),
        (lambda state: {**state, **{f"ema.{key}": state[key] for key in state}}, "several autoencoders"),
        (lambda state: [1, 2], "holds a list"),
        (
            lambda state: {"model": state, "args": argparse.Namespace(lr=1)},
            r"pickled class argparse\.Namespace",
        ),
    ],
)
def test_files_that_do_not_fit_change_nothing(tmp_path, spoil, message):
    torch.save(spoil(published().state_dict()), tmp_path / "odd.pt")
    target = build(2, moments=1)
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    with pytest.raises(ValueError, match=message) as caught:
        load_weights(target, tmp_path / "odd.pt")
    assert "\n" not in str(caught.value)
    assert all(torch.equal(before[name], tensor) for name, tensor in target.state_dict().items())


def test_a_mean_only_file_does_not_give_a_log_variance(tmp_path):
    torch.save(build(1, moments=1).state_dict(), tmp_path / "mean.pt")
    with pytest.raises(ValueError, match=r"'quant_conv\.weight' has the shape \(3, 6, 1, 1\)"):
        load_weights(build(2, moments=2), tmp_path / "mean.pt")


@pytest.mark.parametrize("fraction", [0.0, 0.001, 0.3, 0.999])
@pytest.mark.parametrize("name", ["cut.safetensors", "cut.pt", "old.ckpt"])
def test_truncated_files(tmp_path, name, fraction):
    path = tmp_path / name
    if path.suffix == ".safetensors":
        save_file(published().state_dict(), path)
    else:
        torch.save(published().state_dict(), path, _use_new_zipfile_serialization=path.suffix == ".pt")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * fraction)])
    with pytest.raises(ValueError, match="truncated or damaged") as caught:
        load_weights(build(2, moments=1), path)
    assert "\n" not in str(caught.value)


def test_paths_that_are_no_weights(tmp_path):
    with pytest.raises(ValueError, match="there is no file"):
        load_weights(published(), tmp_path / "nowhere.pt")
    (tmp_path / "weights.txt").write_text("hello")
    with pytest.raises(ValueError, match=r"not a \.safetensors"):
        load_weights(published(), tmp_path / "weights.txt")


class Bomb:
    """Unpickled by code, it would create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_no_code_of_a_file_runs(tmp_path):
    torch.save(
        {"state_dict": published().state_dict(), "bomb": Bomb(tmp_path / "ran")}, tmp_path / "bomb.ckpt"
    )
    with pytest.raises(ValueError, match="could run code"):
        load_weights(build(2, moments=1), tmp_path / "bomb.ckpt")
    assert not (tmp_path / "ran").exists()
