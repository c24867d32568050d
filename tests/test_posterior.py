"""Posteriors: their draws, their entropies against torch.distributions, and the floor of the prior's loss."""

import math

import pytest
import torch
from torch import distributions

from simflow.flow.block import BlockConfig
from simflow.flow.stack import FlowConfig
from simflow.posterior import Dequantised, FixedVariance, LearnedVariance, Linear, NoNoise, Posterior, Slerp
from simflow.seeding import generator
from tests.laws.cases import normal

POSTERIORS = {"fixed": FixedVariance(), "learned": LearnedVariance(), "none": NoNoise()}


def code_for(posterior, *, batch=3, seed=1):
    return normal(batch, 2 * posterior.moments, 4, 5, seed=seed)


@pytest.mark.parametrize("name", POSTERIORS)
def test_shapes_dtypes_and_determinism(name):
    posterior = POSTERIORS[name]
    code = code_for(posterior)
    latents = posterior.sample(code, generator(0))
    assert latents.shape == (3, 2, 4, 5)
    assert posterior.entropy(code).shape == (3,)
    assert latents.dtype == torch.float64
    assert posterior.sample(code.float(), generator(0)).dtype == torch.float32
    assert torch.equal(latents, posterior.sample(code, generator(0)))
    if name != "none":
        assert not torch.equal(latents, posterior.sample(code, generator(1)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", POSTERIORS)
def test_latents_are_wide_under_autocast(name, dtype):
    posterior = POSTERIORS[name]
    code = code_for(posterior).to(dtype)
    assert posterior.sample(code, generator(0)).dtype == torch.float32
    assert posterior.entropy(code).dtype == torch.float32


@pytest.mark.parametrize("std", [0.1, 0.5, 1.0])
def test_the_fixed_variance_draws_and_knows_its_entropy(std):
    posterior, code = FixedVariance(std=std), code_for(FixedVariance(), batch=2)
    draws = torch.stack([posterior.sample(code, generator(seed)) for seed in range(3000)])
    torch.testing.assert_close(draws.mean(dim=0), code, atol=0.1 * std, rtol=0)
    torch.testing.assert_close(draws.std(dim=0), torch.full_like(code, std), atol=0, rtol=0.08)
    expected = distributions.Normal(code, std).entropy().sum(dim=(1, 2, 3))
    torch.testing.assert_close(posterior.entropy(code).double(), expected, atol=1e-4, rtol=1e-6)


def test_a_predicted_log_variance_is_held_in_its_range():
    code = torch.tensor([0.0, -100.0, 0.0, 100.0]).reshape(2, 2, 1, 1)
    assert LearnedVariance().split(code)[1].flatten().tolist() == [-30, 20]


def test_the_entropy_of_a_fixed_variance_is_a_constant():
    """Nothing learns it: that is the paper's point."""
    code = code_for(FixedVariance()).requires_grad_()
    entropy = FixedVariance().entropy(code)
    assert not entropy.requires_grad
    assert torch.equal(entropy, FixedVariance().entropy(10 * code))


def test_the_fixed_variance_passes_the_gradient_whole():
    code = code_for(FixedVariance()).requires_grad_()
    (gradient,) = torch.autograd.grad(FixedVariance().sample(code, generator(0)).sum(), code)
    assert torch.equal(gradient, torch.ones_like(code))


def test_the_learned_variance_draws_and_knows_its_entropy():
    posterior, code = LearnedVariance(), code_for(LearnedVariance(), batch=2)
    mean, std = code[:, :2], (code[:, 2:] / 2).exp()
    draws = torch.stack([posterior.sample(code, generator(seed)) for seed in range(3000)])
    assert ((draws.mean(dim=0) - mean).abs() < 0.1 * std).all()
    torch.testing.assert_close(draws.std(dim=0), std, atol=0, rtol=0.08)
    expected = distributions.Normal(mean, std).entropy().sum(dim=(1, 2, 3))
    torch.testing.assert_close(posterior.entropy(code), expected)


def test_the_gradient_of_the_learned_entropy_is_a_half_for_each_log_variance():
    code = code_for(LearnedVariance()).requires_grad_()
    (gradient,) = torch.autograd.grad(LearnedVariance().entropy(code).sum(), code)
    assert not gradient[:, :2].any()
    torch.testing.assert_close(gradient[:, 2:], torch.full((3, 2, 4, 5), 0.5).double())


def test_the_learned_variance_is_reparametrised():
    code = code_for(LearnedVariance()).requires_grad_()
    latents = LearnedVariance().sample(code, generator(0))
    (gradient,) = torch.autograd.grad(latents.sum(), code)
    torch.testing.assert_close(gradient[:, :2], torch.ones(3, 2, 4, 5).double())
    torch.testing.assert_close(gradient[:, 2:], 0.5 * (latents - code[:, :2]).detach())


def test_a_wild_log_variance_is_held():
    code = torch.cat([torch.zeros(1, 2, 1, 2), torch.tensor([[[[1e4, -1e4]], [[0.0, 0.0]]]])], dim=1)
    assert LearnedVariance().sample(code, generator(0)).isfinite().all()
    assert LearnedVariance().entropy(code).isfinite().all()


@pytest.mark.parametrize(
    ("posterior", "noisy", "lossless", "std"),
    [
        (FixedVariance(std=0.3), True, False, 0.3),
        (LearnedVariance(added=0.3), True, False, None),
        (Slerp(), True, False, None),
        (Dequantised(), True, True, None),
        (NoNoise(), False, False, None),
    ],
    ids=lambda part: type(part).__name__ if isinstance(part, Posterior) else "",
)
def test_a_posterior_says_of_what_kind_its_noise_is(posterior, noisy, lossless, std):
    assert (posterior.noisy, posterior.lossless, posterior.noise_std) == (noisy, lossless, std)


def test_no_noise_is_the_mean():
    code = code_for(NoNoise())
    assert torch.equal(NoNoise().sample(code, generator(0)), code)
    assert not NoNoise().entropy(code).any()


@pytest.mark.parametrize(
    ("std", "floor"), [(0.1, -1.803), (0.25, -0.886), (0.5, -0.193), (0.75, 0.212), (1, 0.5)]
)
def test_the_floor_of_the_prior_loss(std, floor):
    assert FixedVariance(std=float(std)).floor == pytest.approx(floor, abs=6e-4)


def test_other_posteriors_have_no_floor():
    assert LearnedVariance().floor is None
    assert NoNoise().floor is None


def energy_of_noise(std, log_scale):
    """Mean energy a number of pure posterior noise under a flow of one constant scale."""
    config = FlowConfig(depths=(1,), block=BlockConfig(width=8, heads=2, first_token="learned"))
    flow = config.build(latent_shape=(2, 8, 8), classes=0).double()
    with torch.no_grad():
        flow.chain()[0].head.bias.copy_(torch.tensor([log_scale] * 2 + [0.0] * 2))
        noise = FixedVariance(std=std).sample(torch.zeros(100, 2, 8, 8).double(), generator(0))
        value, _ = flow.energy(noise, torch.full((100,), -1), generator(0))
    return value.mean().item() / noise[0].numel()


@pytest.mark.parametrize("std", [0.1, 0.5, 1.0])
def test_pure_noise_attains_the_floor_under_its_best_gaussian(std):
    """Latents that carry nothing but their noise reach the floor, and no Gaussian goes below."""
    floor = FixedVariance(std=std).floor
    assert energy_of_noise(std, math.log(std)) == pytest.approx(floor, abs=0.02)
    for error in (-0.3, 0.3):
        above = 0.5 * math.exp(-2 * error) + error - 0.5
        assert energy_of_noise(std, math.log(std) + error) == pytest.approx(floor + above, abs=0.03)
        assert above > 0.05


def test_the_floor_is_the_entropy_without_its_constant():
    posterior, code = FixedVariance(std=0.3), code_for(FixedVariance())
    numbers = code[0].numel()
    entropy = posterior.entropy(code)[0].item() / numbers
    assert posterior.floor == pytest.approx(entropy - 0.5 * math.log(2 * math.pi), abs=1e-5)


@pytest.mark.parametrize("std", [0.0, -1.0, float("nan")])
def test_a_standard_deviation_that_is_none_is_refused(std):
    with pytest.raises(ValueError, match="standard deviation of the posterior must be positive"):
        FixedVariance(std=std)


@pytest.mark.parametrize(
    "posterior",
    [
        FixedVariance(),
        LearnedVariance(),
        LearnedVariance(added=0.3),
        NoNoise(),
        Slerp(),
        Linear(),
        Linear(low=0.4, high=0.9),
        Dequantised(),
    ],
    ids=str,
)
def test_the_mean_is_that_of_the_draws(posterior):
    """Within five standard errors everywhere."""
    code = code_for(posterior)
    if isinstance(posterior, Dequantised):
        code = torch.linspace(0, 255, 24).round().double().reshape(1, 2, 3, 4) / 127.5 - 1
    draws = torch.stack([posterior.sample(code, generator(seed)) for seed in range(2000)])
    error = (draws.mean(dim=0) - posterior.mean(code)).abs()
    assert (error <= 5 * draws.std(dim=0) / 2000**0.5 + 1e-12).all()
