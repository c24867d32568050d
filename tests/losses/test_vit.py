"""DINOv2 written out a second time, under both kinds of names, on other grids; and against transformers, if there."""

import json
import math

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from simflow.losses.vit import DinoV2
from tests.laws.cases import normal
from tests.losses.tiny_vit import tiny_file, tiny_state

WIDTH = 64


def by_hand(state, images, *, blocks, final):
    """The patches of images in [-1, 1]."""
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    pixels = ((images + 1) / 2 - mean[:, None, None]) / std[:, None, None]
    return tokens_by_hand(state, pixels, blocks=blocks, final=final)[:, 1:]


def class_token(state, pixels, *, layers=3):
    """The class token of normalised images after the last norm."""
    return tokens_by_hand(state, pixels, blocks=layers, final=True)[:, 0]


def tokens_by_hand(state, pixels, *, blocks, final):
    """One head of 64 numbers, loop after loop."""
    x = F.conv2d(pixels, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=14)
    x = x.flatten(2).transpose(1, 2)
    x = torch.cat([state["cls_token"].expand(len(x), 1, WIDTH), x], dim=1) + state["pos_embed"]

    def part(name):
        return state[f"{name}.weight"], state[f"{name}.bias"]

    for number in range(blocks):
        block = f"blocks.{number}"
        h = F.layer_norm(x, (WIDTH,), *part(f"{block}.norm1"), eps=1e-6)
        q, k, v = F.linear(h, *part(f"{block}.attn.qkv")).chunk(3, dim=-1)
        h = torch.softmax(q @ k.transpose(1, 2) / math.sqrt(WIDTH), dim=-1) @ v
        x = x + state[f"{block}.ls1.gamma"] * F.linear(h, *part(f"{block}.attn.proj"))
        h = F.layer_norm(x, (WIDTH,), *part(f"{block}.norm2"), eps=1e-6)
        h = F.gelu(F.linear(h, *part(f"{block}.mlp.fc1")))
        x = x + state[f"{block}.ls2.gamma"] * F.linear(h, *part(f"{block}.mlp.fc2"))
    return F.layer_norm(x, (WIDTH,), *part("norm"), eps=1e-6) if final else x


def built(source, **settings):
    return DinoV2(source=source, **settings).build("objective.alignment.encoder")


def images(*shape):
    return normal(*shape, dtype=torch.float32).clamp(-1, 1)


def tokens(features):
    return features.flatten(2).transpose(1, 2)


@pytest.mark.parametrize("block", [None, 1, 3])
def test_the_arithmetic(tmp_path, block):
    network = built(tiny_file(tmp_path), block=block)
    x = images(2, 3, 42, 42)
    expected = by_hand(tiny_state(), x, blocks=block or 3, final=block is None)
    features = network.features(x, (3, 3))
    assert features.shape == (2, WIDTH, 3, 3)
    torch.testing.assert_close(tokens(features), expected, rtol=1e-4, atol=1e-4)


def transformers_names(state):
    """The same weights as transformers saves them."""
    renamed = {}
    for name, tensor in state.items():
        name = name.replace("blocks.", "encoder.layer.").replace("attn.proj", "attention.output.dense")
        name = name.replace("patch_embed.proj", "embeddings.patch_embeddings.projection")
        name = name.replace("pos_embed", "embeddings.position_embeddings")
        name = name.replace("cls_token", "embeddings.cls_token")
        for number in "12":
            name = name.replace(f"ls{number}.gamma", f"layer_scale{number}.lambda1")
        name = f"layernorm.{name.removeprefix('norm.')}" if name.startswith("norm.") else name
        if ".attn.qkv." in name:
            for part, third in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                renamed[name.replace("attn.qkv", f"attention.attention.{part}")] = third.contiguous()
        else:
            renamed[name] = tensor
    return renamed


def test_names_of_transformers_and_of_the_original_code(tmp_path):
    folder = tmp_path / "dinov2"
    folder.mkdir()
    save_file(transformers_names(tiny_state()), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "dinov2"}))
    torch.save(tiny_state(), tmp_path / "original.pth")
    x = images(1, 3, 42, 42)
    results = [
        built(str(source)).features(x, (3, 3))
        for source in (tiny_file(tmp_path), folder, tmp_path / "original.pth")
    ]
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_the_grid_decides_the_size_unless_a_side_is_given(tmp_path):
    source = tiny_file(tmp_path)
    assert built(source).features(images(1, 3, 64, 64), (4, 5)).shape == (1, WIDTH, 4, 5)
    fixed = built(source, side=28).features(images(1, 3, 64, 64), (4, 5))
    assert fixed.shape == (1, WIDTH, 2, 2)
    gray = built(source).features(images(1, 1, 32, 32), (2, 2))
    assert gray.isfinite().all()


def test_positions_are_interpolated_to_other_grids(tmp_path):
    network = built(tiny_file(tmp_path))
    assert torch.equal(network.positions(3, 3), network.pos_embed)
    other = network.positions(6, 6)
    assert other.shape == (1, 37, WIDTH)
    assert torch.equal(other[:, 0], network.pos_embed[:, 0])
    table = network.pos_embed[0, 1:].T.reshape(WIDTH, 3, 3)
    torch.testing.assert_close(other[0, 1:].mean(dim=0), table.mean(dim=(1, 2)), atol=0.05, rtol=0)
    network.pos_embed.zero_()[:, 7:] = 1
    assert network.positions(6, 6).max() > 1, "a cubic overshoots at a step"


def test_it_stands_still(tmp_path):
    network = built(tiny_file(tmp_path)).train()
    assert not any(p.requires_grad for p in network.parameters())
    assert not any(module.training for module in network.modules())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda state: state.pop("pos_embed"), "not of a DINOv2: it lacks"),
        (lambda state: state.pop("blocks.1.mlp.fc1.bias"), "it lacks 'blocks.1.mlp.0.bias'"),
        (lambda state: state.update({"norm.weight": torch.zeros(5)}), r"'norm.weight' has the shape \(5,\)"),
    ],
)
def test_what_does_not_fit_is_said(tmp_path, spoil, message):
    state = tiny_state()
    spoil(state)
    save_file(state, tmp_path / "spoilt.safetensors")
    with pytest.raises(ValueError, match=message):
        built(str(tmp_path / "spoilt.safetensors"))


def test_wrong_settings(tmp_path):
    with pytest.raises(ValueError, match="has 3 blocks, so there is no block 4"):
        built(tiny_file(tmp_path), block=4)
    with pytest.raises(ValueError, match="multiple of 14, not 30"):
        DinoV2(side=30)
    with pytest.raises(ValueError, match="there is no file"):
        built("/nowhere/vit.pth")


def test_against_transformers(tmp_path):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    sizes = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 70}
    model = transformers.Dinov2Model(transformers.Dinov2Config(**sizes, patch_size=14)).eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(tmp_path)
    x = images(2, 3, 42, 56)
    network = built(str(tmp_path))
    with torch.no_grad():
        expected = model(((x + 1) / 2 - network.mean) / network.std).last_hidden_state[:, 1:]
    torch.testing.assert_close(tokens(network.features(x, (3, 4))), expected, rtol=1e-4, atol=1e-5)
