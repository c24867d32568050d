"""Perturbations that mix mean and noise, and added noise: draws, entropies and floors against dull integrals."""

import math

import pytest
import torch
from torch import distributions

from simflow.posterior import LearnedVariance, Linear, Slerp
from simflow.seeding import generator
from tests.laws.cases import normal

CODE = normal(2, 2, 4, 5)
FIXED = [Linear(low=0.3, high=0.3), Linear(low=0.0, high=0.0), Slerp(), Slerp(low=0.2, high=0.2)]
DRAWN = [Linear(), Linear(low=0.4, high=0.9), Slerp(low=0.0, high=1.0), Slerp(low=0.1, high=0.6)]


def std_at(posterior, t):
    """The paper's two equations."""
    return 1 - t if isinstance(posterior, Linear) else math.sqrt(1 - t**2)


@pytest.mark.parametrize("posterior", FIXED, ids=str)
def test_a_fixed_mixture_is_a_gaussian(posterior):
    t, std = posterior.low, std_at(posterior, posterior.low)
    draws = torch.stack([posterior.sample(CODE, generator(seed)) for seed in range(3000)])
    torch.testing.assert_close(draws.mean(dim=0), t * CODE, atol=0.1 * std, rtol=0)
    torch.testing.assert_close(draws.std(dim=0), torch.full_like(CODE, std), atol=0, rtol=0.08)
    expected = distributions.Normal(t * CODE, std).entropy().sum(dim=(1, 2, 3))
    torch.testing.assert_close(posterior.entropy(CODE).double(), expected, rtol=1e-5, atol=1e-4)
    assert posterior.floor == pytest.approx(math.log(std) + 0.5)


@pytest.mark.parametrize("posterior", DRAWN, ids=str)
def test_a_drawn_mixture_averages_its_entropy(posterior):
    steps = 400_000
    ts = [posterior.low + (posterior.high - posterior.low) * (i + 0.5) / steps for i in range(0, steps, 10)]
    mean_log = sum(math.log(std_at(posterior, t)) for t in ts) / len(ts)
    assert posterior.floor == pytest.approx(mean_log + 0.5, abs=1e-3)
    per_number = posterior.entropy(CODE) / CODE[0].numel()
    assert per_number.tolist() == pytest.approx(
        [mean_log + 0.5 * math.log(2 * math.pi * math.e)] * 2, abs=1e-3
    )


@pytest.mark.parametrize("posterior", DRAWN, ids=str)
def test_each_image_has_its_own_amount(posterior):
    """With a mean far larger than the noise, the draw shows t: spread evenly over its interval."""
    far = torch.full((4000, 2, 1, 1), 1e6).double()
    t = posterior.sample(far, generator(0)) / 1e6
    torch.testing.assert_close(t[:, 0], t[:, 1], atol=2e-5, rtol=0)
    t = t[:, 0].flatten().sort().values
    even = torch.linspace(posterior.low, posterior.high, 4000).double()
    assert (t - even).abs().max() < 0.05


@pytest.mark.parametrize("kind", [Linear, Slerp])
def test_amounts_out_of_range(kind):
    for low, high in ((-0.1, 0.5), (0.6, 0.5), (0.5, 1.1), (1.0, 1.0)):
        with pytest.raises(ValueError, match=f"not from {low} to {high}"):
            kind(low=low, high=high)


@pytest.mark.parametrize("posterior", [*FIXED, *DRAWN], ids=str)
def test_draws_repeat_and_are_wide(posterior):
    assert torch.equal(posterior.sample(CODE, generator(0)), posterior.sample(CODE, generator(0)))
    assert posterior.sample(CODE.bfloat16(), generator(0)).dtype == torch.float32
    assert posterior.sample(CODE, generator(0)).isfinite().all()


@pytest.mark.parametrize("added", [0.3, 1.0])
def test_added_noise_adds_its_variance(added):
    posterior, code = LearnedVariance(added=added), normal(2, 4, 4, 5)
    std = torch.sqrt((code[:, 2:]).exp() + added**2)
    draws = torch.stack([posterior.sample(code, generator(seed)) for seed in range(3000)])
    assert ((draws.mean(dim=0) - code[:, :2]).abs() < 0.1 * std).all()
    torch.testing.assert_close(draws.std(dim=0), std, atol=0, rtol=0.08)
    expected = distributions.Normal(code[:, :2], std).entropy().sum(dim=(1, 2, 3))
    torch.testing.assert_close(posterior.entropy(code), expected)
    assert posterior.floor == pytest.approx(math.log(added) + 0.5)
    tiny = torch.cat([code[:, :2], torch.full((2, 2, 4, 5), -1e4).double()], dim=1)
    assert (posterior.entropy(tiny) / 40).tolist() == pytest.approx(
        [math.log(added) + 0.5 * math.log(2 * math.pi * math.e)] * 2
    )


def test_no_added_noise_is_the_plain_posterior():
    code = normal(2, 4, 4, 5)
    assert torch.equal(
        LearnedVariance().sample(code, generator(0)), LearnedVariance(added=0.0).sample(code, generator(0))
    )
    assert LearnedVariance().floor is None
    with pytest.raises(ValueError, match="cannot have a standard deviation of -1"):
        LearnedVariance(added=-1.0)
