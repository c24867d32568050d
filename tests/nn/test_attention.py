"""Attention against its formula, with and without a cache."""

import pytest
import torch
from torch.nn import functional as F

from simflow.nn.attention import FEW, MANY, Attention, attend, attend_by_products, window_mask
from simflow.nn.cache import Cache


def attention(*, causal=True):
    return Attention(width=8, heads=2, causal=causal).double()


def by_hand(module, x, *, causal, temperature=None):
    _, n, width = x.shape
    size = width // module.heads
    q, k, v = (
        x @ module.qkv.weight[i * width : (i + 1) * width].mT + module.qkv.bias[i * width : (i + 1) * width]
        for i in range(3)
    )
    out = torch.zeros_like(x)
    for head in range(module.heads):
        part = slice(head * size, (head + 1) * size)
        logits = q[..., part] @ k[..., part].mT / size**0.5
        if temperature is not None:
            logits = logits / temperature[:, None, None]
        if causal:
            logits = logits.masked_fill(~torch.ones(n, n, dtype=torch.bool).tril(), -torch.inf)
        out[..., part] = logits.softmax(dim=-1) @ v[..., part]
    return out @ module.proj.weight.mT + module.proj.bias


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("temperature", [None, torch.tensor([0.5, 1.0, 2.0]).double()])
def test_attention_is_its_formula(causal, temperature):
    module, x = attention(causal=causal), torch.randn(3, 5, 8, dtype=torch.float64)
    expected = by_hand(module, x, causal=causal, temperature=temperature)
    torch.testing.assert_close(module(x, temperature=temperature), expected)


@pytest.mark.parametrize("chunks", [(1, 1, 1, 1, 1), (2, 3), (4, 1), (1, 3, 1), (5,)])
def test_a_cache_changes_nothing(chunks):
    module, x = attention(), torch.randn(3, 5, 8, dtype=torch.float64)
    temperature = torch.tensor([0.5, 1.0, 2.0]).double()
    cache = Cache.allocate(
        layers=1, batch=3, heads=2, tokens=5, head_size=4, dtype=torch.float64, device=torch.device("cpu")
    )
    outs, position = [], 0
    for chunk in x.split(chunks, dim=1):
        outs.append(module(chunk, past=cache.layers[0], position=position, temperature=temperature))
        position += chunk.shape[1]
    torch.testing.assert_close(torch.cat(outs, dim=1), module(x, temperature=temperature))


def test_the_mask_of_a_window():
    mask = window_mask(torch.zeros(1, 1, 2, 4), torch.zeros(1, 1, 5, 4))
    assert mask.int().tolist() == [[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="a width of 10 cannot be split over 4 attention heads"):
        Attention(width=10, heads=4, causal=True)


def test_a_cache_has_its_own_room_for_each_layer():
    cache = Cache.allocate(
        layers=3, batch=2, heads=2, tokens=5, head_size=4, dtype=torch.float32, device=torch.device("cpu")
    )
    assert len(cache.layers) == 3
    for number, room in enumerate(cache.layers):
        room.write(0, torch.full((2, 2, 5, 4), number), torch.full((2, 2, 5, 4), 10 + number))
    keys, values = cache.layers[1].write(3, torch.full((2, 2, 1, 4), 7.0), torch.full((2, 2, 1, 4), 8.0))
    assert keys[0, 0, :, 0].tolist() == [1.0, 1.0, 1.0, 7.0]
    assert values[0, 0, :, 0].tolist() == [11.0, 11.0, 11.0, 8.0]
    assert (cache.layers[0].keys == 0).all()
    assert (cache.layers[2].values == 12).all()


def test_short_attention_in_half_precision_is_trained_in_float32_on_a_cpu():
    q, k, v = torch.randn(3, 2, 2, 16, 8, dtype=torch.bfloat16, generator=torch.Generator().manual_seed(0))
    q.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        half = attend(q, k, v, causal=True)
    wide = F.scaled_dot_product_attention(q.float(), k.float(), v.float(), is_causal=True)
    assert half.dtype == torch.bfloat16
    assert torch.equal(half, wide.to(torch.bfloat16))
    (gradient,) = torch.autograd.grad(half.float().sum(), q)
    assert gradient.dtype == torch.bfloat16
    assert torch.equal(gradient, torch.autograd.grad(wide.sum(), q)[0])


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("tokens", [FEW + 1, 100, MANY + 1])
def test_attention_in_half_precision_is_attention(tokens, causal):
    """By matrix products, and beyond them by torch's kernel: values and gradients within the rounding of bfloat16."""
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randn(2, 3, tokens, 8, dtype=torch.bfloat16, generator=generator) for _ in range(3)]
    wide = [part.double().requires_grad_() for part in parts]
    expected = F.scaled_dot_product_attention(*wide, is_causal=causal)
    half = [part.requires_grad_() for part in parts]
    with torch.autocast("cpu", torch.bfloat16):
        out = attend(*half, causal=causal)
    assert out.dtype == torch.bfloat16
    weights = torch.randn(expected.shape, dtype=torch.float64, generator=generator)
    gradients = torch.autograd.grad((out.double() * weights).sum(), half)
    for ours, theirs in [
        (out, expected),
        *zip(gradients, torch.autograd.grad((expected * weights).sum(), wide), strict=True),
    ]:
        assert (ours.double() - theirs).norm() < 0.01 * theirs.norm()


def test_attention_by_products_is_attention():
    q, k, v = torch.randn(3, 2, 3, 7, 8, dtype=torch.float64)
    for causal in (True, False):
        expected = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        torch.testing.assert_close(attend_by_products(q, k, v, causal=causal), expected)
