"""The base of a chain: a fitted variance is TarFlow's running mean of squares, and its flow is a density."""

import math

import pytest
import torch
from torch import distributions

from simflow.flow.base import FittedNormal, StandardNormal
from tests.laws.cases import FLOWS, build, labels_for, latents_for, normal


def alone(x):
    return x


def test_a_standard_base_changes_nothing():
    base, u = StandardNormal().build((3, 2)), normal(4, 3, 2)
    z, log_det = base(u)
    assert torch.equal(z, u)
    assert torch.equal(log_det, torch.zeros(4).double())
    assert torch.equal(base.inverse(u), u)
    base.observe(u)
    base.settle(alone)
    assert not base.state_dict()


def test_a_fitted_base_divides_by_its_standard_deviations():
    base, u = FittedNormal().build((3, 2)).double(), normal(4, 3, 2)
    variance = torch.tensor([[0.5, 1.0], [2.0, 4.0], [9.0, 0.1]]).double()
    base.load_state_dict({"variance": variance})
    z, log_det = base(u)
    torch.testing.assert_close(z, u / variance.sqrt())
    torch.testing.assert_close(base.inverse(z), u)
    law = distributions.Normal(torch.zeros_like(variance), variance.sqrt())
    standard = distributions.Normal(0.0, 1.0).log_prob(z).sum(dim=(1, 2))
    torch.testing.assert_close(standard + log_det, law.log_prob(u).sum(dim=(1, 2)))


def test_the_fit_is_a_running_mean_of_squares():
    base = FittedNormal(rate=0.1).build((3, 2)).double()
    expected = torch.ones(3, 2).double()
    for seed in range(3):
        u = 2 * normal(50, 3, 2, seed=seed)
        for part in u.split(20):
            base.observe(part)
        base.settle(alone)
        expected = 0.9 * expected + 0.1 * (u**2).mean(dim=0)
    torch.testing.assert_close(base.state_dict()["variance"], expected)
    for seed in range(100):
        base.observe(2 * normal(500, 3, 2, seed=seed))
        base.settle(alone)
    torch.testing.assert_close(
        base.state_dict()["variance"], torch.full((3, 2), 4.0).double(), atol=0.3, rtol=0
    )


def test_what_is_not_finite_moves_nothing_and_is_forgotten():
    base, u = FittedNormal(rate=0.1).build((3, 2)).double(), 2 * normal(50, 3, 2)
    broken = u.clone()
    broken[7, 1, 0] = torch.nan
    base.observe(broken)
    base.settle(alone)
    variance = base.state_dict()["variance"]
    assert variance.isfinite().all()
    assert variance[1, 0] == 1
    assert (variance != 1).sum() == 5
    before = variance.clone()
    base.settle(alone)
    assert torch.equal(base.state_dict()["variance"], before)
    base.observe(u)
    base.settle(alone)
    expected = 0.9 * before + 0.1 * (u**2).mean(dim=0)
    torch.testing.assert_close(base.state_dict()["variance"], expected)


def test_processes_share_what_they_saw():
    """As if two had seen the same number of images each; the stand-in knows what the other one saw."""
    one, other = FittedNormal().build((3, 2)).double(), FittedNormal().build((3, 2)).double()
    u = normal(10, 3, 2)
    one.observe(u[:5])
    other.observe(u[5:])
    one.settle(lambda seen: (seen + other.seen) / 2)
    other.observe(u[:5])
    other.settle(alone)
    torch.testing.assert_close(one.state_dict(), other.state_dict())


@pytest.mark.parametrize("name", ["volume-preserving", "volume-preserving tarflow"])
def test_training_takes_the_variance_for_one_and_fits_it_beside(name):
    flow, labels = build(FLOWS[name]), labels_for()
    x = latents_for(flow)
    before = flow.base.state_dict()["variance"].clone()
    value, _ = flow.eval().energy(x, labels, torch.Generator())
    assert torch.equal(flow.base.state_dict()["variance"], before)
    z, log_det = flow.forward(x, labels)
    u = flow.base.inverse(z)
    torch.testing.assert_close(value, 0.5 * u.square().sum(dim=(1, 2)))
    torch.testing.assert_close(log_det, (-0.5 * before.log().sum()).expand(4))
    trained, _ = flow.train().energy(x, labels, torch.Generator())
    flow.settle(alone)
    assert torch.equal(trained, value)
    torch.testing.assert_close(
        flow.base.state_dict()["variance"], 0.9 * before + 0.1 * (u**2).mean(dim=0).detach()
    )
    law = distributions.Normal(0.0, before.sqrt())
    torch.testing.assert_close(law.log_prob(u).sum(dim=(1, 2)), flow_density(z, log_det))


def flow_density(z, log_det):
    return log_det - 0.5 * (z**2).sum(dim=(1, 2)) - 0.5 * math.log(2 * math.pi) * z[0].numel()
