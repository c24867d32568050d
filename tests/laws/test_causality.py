"""Every block is autoregressive in its own order: what makes its Jacobian triangular and its inverse a walk."""

import pytest
import torch

from simflow.nn.embed import PositionTable
from simflow.prior import Align
from tests.laws.cases import FLOWS, build, jacobian, labels_for, latents_for, noise_for

EVERY_BLOCK = [(name, index) for name, config in FLOWS.items() for index in range(len(config.depths))]

UNCHANGED = [name for name, i in EVERY_BLOCK if i == 1 and FLOWS[name].block.first_token == "unchanged"]
LEARNED = [name for name, config in FLOWS.items() if config.block.first_token == "learned"]


def orders(name):
    """The orders that the blocks of a case should have."""
    pair = ["raster", "reversed"] if FLOWS[name].first == "raster" else ["reversed", "raster"]
    return (pair * len(FLOWS[name].depths))[: len(FLOWS[name].depths)]


def sensitivity(function, x):
    """``(n, n)``: the largest ``|d output token i / d input token j|``."""
    return jacobian(lambda v: function(v[None])[0], x[0]).abs().amax(dim=(1, 3))


@pytest.mark.parametrize(("name", "index"), EVERY_BLOCK)
def test_a_block_sees_the_tokens_before_in_its_order(name, index):
    flow = build(FLOWS[name])
    block, label = flow.chain()[index], torch.tensor([1])
    x = noise_for(flow, 1)
    seen = sensitivity(lambda v: block.forward(v, block.condition(label))[0], x)
    assert block.order == orders(name)[index]
    if block.order == "reversed":
        seen = seen.flip(0, 1)
    assert not seen.triu(diagonal=1).any(), "a token sees what comes after it"
    first = 1 if FLOWS[name].block.first_token == "unchanged" else 0
    below = torch.ones_like(seen, dtype=torch.bool).tril()
    below[:first, :first] = False
    assert (seen[below] > 0).all(), "a token does not see all before it"


@pytest.mark.parametrize(("name", "index"), EVERY_BLOCK)
def test_the_affine_map_of_a_token_does_not_see_the_token(name, index):
    flow = build(FLOWS[name])
    block, label = flow.chain()[index], torch.tensor([1])
    x = noise_for(flow, 1)
    for part in (0,) if FLOWS[name].block.scale == "none" else (0, 1):
        seen = sensitivity(lambda v, part=part: block.affine_of(v, block.condition(label))[0][part], x)
        assert not seen.triu().any()
        assert (seen[torch.ones_like(seen, dtype=torch.bool).tril(-1)] > 0).all()


@pytest.mark.parametrize("name", UNCHANGED)
def test_the_first_token_passes_unchanged(name):
    flow = build(FLOWS[name])
    x, labels = noise_for(flow), labels_for()
    first, second = (block.forward(x, block.condition(labels))[0] for block in flow.chain()[:2])
    if FLOWS[name].first == "reversed":
        first, second = second, first
    assert torch.equal(first[:, 0], x[:, 0])
    assert torch.equal(second[:, -1], x[:, -1])
    assert not torch.equal(first[:, -1], x[:, -1])
    assert not torch.equal(second[:, 0], x[:, 0])


@pytest.mark.parametrize(
    "name", [name for name in UNCHANGED if FLOWS[name].block.positions == PositionTable()]
)
def test_position_tables_are_in_raster_order(name):
    """The last token in order is not heard, nor is its position: row n - 1 where the walk is raster, else row 0."""
    flow = build(FLOWS[name])
    x = noise_for(flow)
    for block in flow.chain():
        assert block.positions is not None
        z, _, _ = block.forward(x, block.condition(labels_for()))
        (gradient,) = torch.autograd.grad(z.square().sum(), block.positions)
        unheard = len(gradient) - 1 if block.order == "raster" else 0
        assert [row for row in range(len(gradient)) if not gradient[row].any()] == [unheard]


@pytest.mark.parametrize("name", LEARNED)
def test_a_learned_start_changes_every_token(name):
    flow = build(FLOWS[name])
    x = noise_for(flow)
    for block in flow.chain():
        z, _, _ = block.forward(x, block.condition(labels_for()))
        assert ((z - x).abs().amax(dim=2) > 1e-3).all()


@pytest.mark.parametrize("name", FLOWS)
def test_hidden_tokens_are_in_raster_order_and_cost_nothing(name):
    flow, labels = build(FLOWS[name]), labels_for()
    x, generator = latents_for(flow), torch.Generator()
    plain = flow.energy(x, labels, generator)
    assert plain.hidden is None
    for index, layers in enumerate(FLOWS[name].depths):
        for layer in range(1, layers + 1):
            align = Align(block=index + 1, layer=layer)
            value, hidden = flow.energy(x, labels, generator, align)
            assert hidden is not None
            assert hidden.shape == (4, flow.noise_shape[0], flow.hidden_width)
            torch.testing.assert_close(value, plain.value, atol=1e-10, rtol=1e-10)
        block, label = flow.chain()[index], torch.tensor([1])
        seen = sensitivity(
            lambda v, block=block, label=label: block.forward(v, block.condition(label), keep=1)[2],
            noise_for(flow, 1),
        )
        if block.order == "reversed":
            seen = seen.flip(0, 1)
        own = 0 if FLOWS[name].block.first_token == "unchanged" else -1
        allowed = torch.ones_like(seen, dtype=torch.bool).tril(own)
        assert not seen[~allowed].any()
        assert (seen[allowed] > 0).all()
