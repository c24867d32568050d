"""The two layers, adaLN-Zero and plain, against their formulas; the stack and its hidden tokens."""

import pytest
import torch
from torch.nn import functional as F

from simflow.nn.transformer import AdaLNLayer, Modulator, PlainLayer, Transformer, modulate
from tests.laws.cases import randomise


def stack(conditioning, *, layers=3, causal=True, **choices):
    torch.manual_seed(0)
    built = Transformer(width=8, heads=2, layers=layers, conditioning=conditioning, causal=causal, **choices)
    randomise(built)
    return built.double()


def test_modulate():
    x, shift, scale = torch.randn(3, 2, 5, 8)
    torch.testing.assert_close(modulate(x, shift, scale), x * (1 + scale) + shift)


def test_a_modulator_is_zero_at_first_and_sees_the_vector_through_silu():
    modulator, vector = Modulator(width=8, parts=3), torch.randn(2, 8)
    assert not any(part.any() for part in modulator(vector))
    randomise(modulator)
    expected = (F.silu(vector) @ modulator.linear.weight.mT + modulator.linear.bias).reshape(2, 3, 1, 8)
    for part, row in zip(modulator(vector), expected.unbind(1), strict=True):
        torch.testing.assert_close(part, row)


def test_adaln_zero_begins_as_the_identity():
    fresh = Transformer(width=8, heads=2, layers=3, conditioning="adaln", causal=True)
    x = torch.randn(2, 5, 8)
    out, _ = fresh(x, fresh.condition(torch.randn(2, 8)))
    assert torch.equal(out, x)


def test_an_adaln_layer_is_that_of_dit():
    layer = AdaLNLayer(width=8, heads=2, ratio=4, causal=True)
    randomise(layer)
    x, vector = torch.randn(2, 5, 8), torch.randn(2, 8)
    shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = layer.modulator(vector)
    h = x + gate_a * layer.attention(F.layer_norm(x, (8,), eps=1e-6) * (1 + scale_a) + shift_a)
    expected = h + gate_m * layer.mlp(F.layer_norm(h, (8,), eps=1e-6) * (1 + scale_m) + shift_m)
    stacked = Transformer(width=8, heads=2, layers=1, conditioning="adaln", causal=True)
    stacked.layers[0] = layer
    torch.testing.assert_close(stacked(x, stacked.condition(vector))[0], expected)


def test_a_plain_layer_is_pre_norm():
    layer = PlainLayer(width=8, heads=2, ratio=4, causal=True)
    randomise(layer)
    x = torch.randn(2, 5, 8)
    h = x + layer.attention(layer.norm_attention(x))
    stacked = Transformer(width=8, heads=2, layers=1, conditioning="added", causal=True)
    stacked.layers[0] = layer
    out, _ = stacked(x, stacked.condition(torch.randn(2, 8)))
    torch.testing.assert_close(out, h + layer.mlp(layer.norm_mlp(h)))


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("conditioning", ["adaln", "added"])
def test_what_a_token_sees(conditioning, causal):
    built = stack(conditioning, causal=causal)
    modulations = built.condition(torch.randn(1, 8, dtype=torch.float64))
    x = torch.randn(1, 5, 8, dtype=torch.float64)
    full = torch.autograd.functional.jacobian(lambda v: built(v, modulations)[0][0], x)[:, :, 0]
    seen = full.abs().amax(dim=(1, 3))
    if causal:
        assert not seen.triu(diagonal=1).any()
        assert (seen[torch.ones(5, 5, dtype=torch.bool).tril()] > 0).all()
    else:
        assert (seen > 0).all()


@pytest.mark.parametrize("conditioning", ["adaln", "added"])
def test_the_kept_tokens_are_those_after_the_named_layer(conditioning):
    built = stack(conditioning)
    x, vector = torch.randn(2, 5, 8, dtype=torch.float64), torch.randn(2, 8, dtype=torch.float64)
    modulations = built.condition(vector)
    out, nothing = built(x, modulations)
    assert nothing is None
    assert torch.equal(built(x, modulations, keep=3)[1], out)
    shorter = stack(conditioning, layers=2)
    shorter.load_state_dict({k: v for k, v in built.state_dict().items() if not k.startswith("layers.2.")})
    assert torch.equal(built(x, modulations, keep=2)[1], shorter(x, modulations[:2])[0])


@pytest.mark.parametrize("conditioning", ["adaln", "added"])
def test_a_cache_changes_nothing(conditioning):
    built = stack(conditioning)
    x, vector = torch.randn(2, 5, 8, dtype=torch.float64), torch.randn(2, 8, dtype=torch.float64)
    modulations = built.condition(vector)
    cache = built.cache(batch=2, tokens=5, dtype=torch.float64, device=torch.device("cpu"))
    outs = [
        built(x[:, start:stop], modulations, cache=cache, position=start)[0]
        for start, stop in ((0, 1), (1, 3), (3, 4), (4, 5))
    ]
    torch.testing.assert_close(torch.cat(outs, dim=1), built(x, modulations)[0])


@pytest.mark.parametrize("conditioning", ["adaln", "added"])
def test_recomputing_changes_nothing(conditioning):
    gradients = []
    for checkpointing in (False, True):
        built = stack(conditioning, checkpointing=checkpointing)
        x = torch.ones(2, 5, 8, dtype=torch.float64).cumsum(dim=2).requires_grad_()
        built(x, built.condition(torch.ones(2, 8, dtype=torch.float64)))[0].square().sum().backward()
        gradients.append([x.grad, *(parameter.grad for parameter in built.parameters())])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("conditioning", ["adaln", "added"])
def test_dropout_takes_a_share_of_what_attention_and_mlp_give(conditioning):
    """One layer, step by step, with masks drawn here: first that of attention, then that of the MLP."""
    built = stack(conditioning, layers=1, dropout=0.25)
    (layer,) = built.layers
    x, vector = torch.randn(2, 5, 8, dtype=torch.float64), torch.randn(2, 8, dtype=torch.float64)
    generator = seeded()
    first, second = (torch.empty_like(x).bernoulli_(0.75, generator=generator) / 0.75 for _ in range(2))
    (modulations,) = built.condition(vector)
    if conditioning == "adaln":
        a, m = modulations
        h = x + a.gate * first * layer.attention(modulate(F.layer_norm(x, (8,), eps=1e-6), a.shift, a.scale))
        expected = h + m.gate * second * layer.mlp(
            modulate(F.layer_norm(h, (8,), eps=1e-6), m.shift, m.scale)
        )
    else:
        h = x + first * layer.attention(layer.norm_attention(x))
        expected = h + second * layer.mlp(layer.norm_mlp(h))
    torch.testing.assert_close(built(x, [modulations], generator=seeded())[0], expected)


def test_without_a_generator_or_a_share_nothing_is_dropped_nor_drawn():
    dropping, plain = stack("adaln", dropout=0.5), stack("adaln")
    x, vector = torch.randn(2, 5, 8, dtype=torch.float64), torch.randn(2, 8, dtype=torch.float64)
    expected = plain(x, plain.condition(vector))[0]
    assert torch.equal(dropping(x, dropping.condition(vector))[0], expected)
    generator = seeded()
    assert torch.equal(plain(x, plain.condition(vector), generator=generator)[0], expected)
    assert torch.equal(generator.get_state(), seeded().get_state())
    assert not torch.allclose(dropping(x, dropping.condition(vector), generator=generator)[0], expected)


def test_layers_do_not_drop_the_same_and_the_mean_stays():
    built = stack("adaln", dropout=0.3)
    x = torch.ones(50, 20, 8)
    generator = seeded()
    one, other = (built.draw_dropped(x, generator) for _ in range(2))
    for mask in (*one, *other):
        assert mask.unique().tolist() == [0.0, pytest.approx(1 / 0.7)]
        assert mask.mean().item() == pytest.approx(1, abs=0.03)
    assert not torch.equal(one.attention, one.mlp)
    assert not torch.equal(one.attention, other.attention)


@pytest.mark.parametrize("conditioning", ["adaln", "added"])
def test_a_layer_that_is_recomputed_drops_the_same(conditioning):
    gradients = []
    for checkpointing in (False, True):
        built = stack(conditioning, dropout=0.4, checkpointing=checkpointing)
        torch.manual_seed(1)
        x, vector = torch.randn(2, 5, 8, dtype=torch.float64), torch.randn(2, 8, dtype=torch.float64)
        out, _ = built(x, built.condition(vector), generator=seeded())
        out.square().sum().backward()
        gradients.append([out.detach(), *(parameter.grad for parameter in built.parameters())])
    for one, two in zip(*gradients, strict=True):
        torch.testing.assert_close(one, two)
