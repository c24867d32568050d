"""The density of a flow is a density: it integrates to one, constants and all, and its noise is its law."""

import math

import pytest
import torch
from torch import distributions

from simflow.flow.base import StandardNormal
from simflow.shapes import NULL
from tests.laws.cases import FLOWS, build, jacobian, labels_for, latents_for
from tests.laws.cases import flow as cases_flow

ONE_NUMBER_TOKENS = [name for name, config in FLOWS.items() if config.patch == 1]


def grid():
    """Points ``(k, 1, 1, 2)`` of a square, and the area of each."""
    line = torch.linspace(-12, 12, 121, dtype=torch.float64)
    return torch.cartesian_prod(line, line)[:, None, None, :], (line[1] - line[0]) ** 2


@pytest.mark.parametrize("name", ONE_NUMBER_TOKENS)
def test_the_density_of_two_numbers_integrates_to_one(name):
    flow = build(FLOWS[name], latent_shape=(1, 1, 2))
    points, cell = grid()
    label = (NULL, 0, 1, 2)[ONE_NUMBER_TOKENS.index(name) % 4]
    with torch.no_grad():
        density = flow.log_prob(points, torch.full((len(points),), label)).exp()
    torch.testing.assert_close(density.sum() * cell, torch.tensor(1.0).double(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", [name for name, config in FLOWS.items() if config.base == StandardNormal()])
def test_energy_is_the_negative_log_density_without_its_constant(name):
    flow, labels = build(FLOWS[name]), labels_for()
    x = latents_for(flow)
    value, _ = flow.energy(x, labels, torch.Generator())
    numbers = x[0].numel()
    torch.testing.assert_close(-value - numbers / 2 * math.log(2 * math.pi), flow.log_prob(x, labels))
    z, log_det = flow.forward(x, labels)
    base = distributions.Normal(0.0, 1.0).log_prob(z).sum(dim=(1, 2))
    torch.testing.assert_close(base + log_det, flow.log_prob(x, labels), atol=1e-10, rtol=1e-10)


def constant(name, *, log_scales, shifts):
    """A flow whose every block has one constant affine map: heads of zero weight and a given bias."""
    flow = build(FLOWS[name], latent_shape=(1, 2, 2))
    with torch.no_grad():
        for block, log_scale, shift in zip(flow.chain(), log_scales, shifts, strict=True):
            block.head.weight.zero_()
            block.head.bias.copy_(torch.tensor([log_scale, shift]))
    return flow


def law_of(*maps):
    """The law of a number that comes from noise by maps of the given log-scales and shifts, one after the other."""
    transforms: list[distributions.Transform] = [
        distributions.AffineTransform(shift, math.exp(log_scale)) for log_scale, shift in maps
    ]
    return distributions.TransformedDistribution(distributions.Normal(0.0, 1.0), transforms)


def test_a_constant_affine_flow_is_a_transformed_normal():
    flow = constant("adaln-learned-exp", log_scales=(0.3, -0.7), shifts=(0.5, 2.0))
    law = law_of((-0.7, 2.0), (0.3, 0.5))
    x, labels = latents_for(flow), labels_for()
    torch.testing.assert_close(flow.log_prob(x, labels), law.log_prob(x).sum(dim=(1, 2, 3)))


def test_the_first_token_in_order_keeps_the_law_of_the_noise():
    flow = constant("adaln-unchanged-exp", log_scales=(0.3, -0.7), shifts=(0.5, 2.0))
    x, labels = latents_for(flow), labels_for()
    one, two = (0.3, 0.5), (-0.7, 2.0)
    expected = torch.zeros(4).double()
    for token, law in enumerate((law_of(two), law_of(two, one), law_of(two, one), law_of(one))):
        expected += law.log_prob(x.flatten(1)[:, token])
    torch.testing.assert_close(flow.log_prob(x, labels), expected)


def test_samples_have_the_moments_of_the_density():
    flow = build(FLOWS["adaln-learned-exp"], latent_shape=(1, 1, 2))
    points, cell = grid()
    with torch.no_grad():
        weights = flow.log_prob(points, torch.full((len(points),), 1)).exp() * cell
    flat = points.flatten(1)
    mean = weights @ flat
    covariance = (flat - mean).mT @ (weights[:, None] * (flat - mean))
    count = 40_000
    z = torch.randn(count, 2, 1, dtype=torch.float64)
    samples = flow.inverse(z, torch.full((count,), 1)).flatten(1)
    torch.testing.assert_close(samples.mean(dim=0), mean, atol=0.05, rtol=0)
    torch.testing.assert_close(samples.mT.cov(), covariance, atol=0.1, rtol=0.05)


@pytest.mark.parametrize("kind", ["adaln", "added", "prefix"])
def test_dropout_leaves_a_flow_at_every_draw_and_is_for_training_alone(kind):
    flow, labels = build(cases_flow(conditioning=kind, dropout=0.4)), labels_for(1)
    x = latents_for(flow, 1)

    def energy(x, seed):
        return flow.energy(x, labels, torch.Generator().manual_seed(seed)).value

    density = -flow.log_prob(x, labels) - x[0].numel() / 2 * math.log(2 * math.pi)
    flow.eval()
    torch.testing.assert_close(energy(x, 0), density)
    flow.train()
    assert torch.equal(energy(x, 0), energy(x, 0))
    assert not torch.allclose(energy(x, 0), energy(x, 1))
    torch.testing.assert_close(-flow.log_prob(x, labels) - x[0].numel() / 2 * math.log(2 * math.pi), density)
    u, log_det, _ = flow.walk(x, labels, None, torch.Generator().manual_seed(2))
    size = x[0].numel()
    matrix = jacobian(
        lambda v: flow.walk(v.reshape(x.shape), labels, None, torch.Generator().manual_seed(2))[0][0],
        x.flatten(),
    ).reshape(size, size)
    torch.testing.assert_close(torch.linalg.slogdet(matrix).logabsdet, log_det[0])
    assert u.shape[1:] == flow.noise_shape
