"""SiT: the line, the solvers' orders, a Gaussian whose velocity is known, guidance, and the laws of a prior."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from simflow.autoencoder.compact import CompactConfig
from simflow.flow.guidance import GaussianProduct
from simflow.flow.score import GuidedScoreStep
from simflow.model import Facts, ModelConfig
from simflow.nn.embed import sinusoids
from simflow.objective import Objective, ObjectiveConfig
from simflow.posterior import FixedVariance
from simflow.prior import Align
from simflow.sample import SampleConfig, sample
from simflow.seeding import generator
from simflow.shapes import NULL
from simflow.sit.guidance import ClassifierFree
from simflow.sit.path import between, least_error, velocity
from simflow.sit.prior import SiTConfig
from simflow.sit.solver import Euler, Heun
from tests.laws.cases import flow, labels_for, normal, randomise

TINY = SiTConfig(width=8, depth=2, heads=2, solver=Heun(steps=4))


def sit(config=TINY, *, classes=3, shape=(2, 2, 3), dtype=torch.float64):
    torch.manual_seed(0)
    made = config.build(latent_shape=shape, classes=classes)
    randomise(made)
    return made.to(dtype)


# The line.


def test_the_ends_of_the_line_and_its_velocity():
    x, noise = normal(2, 3, 4), normal(2, 3, 4, seed=2)
    assert torch.equal(between(x, noise, torch.zeros(2)), x)
    assert torch.equal(between(x, noise, torch.ones(2)), noise)
    t = torch.tensor([0.3, 0.8]).double()
    step = 1e-6
    slope = (between(x, noise, t + step) - between(x, noise, t)) / step
    torch.testing.assert_close(slope, velocity(x, noise), atol=1e-8, rtol=1e-6)


# Solvers. For data N(mu, s^2) the mean velocity at x and t is linear in x, and known.

MEAN, STD = 0.7, 0.3


def gaussian_velocity(x, t):
    """``E[noise - data | x_t = x]`` by Gaussian conditioning."""
    variance = (1 - t) ** 2 * STD**2 + t**2
    covariance = t - (1 - t) * STD**2
    return -MEAN + covariance / variance * (x - (1 - t) * MEAN)


def end(solver, z):
    return solver.follow(gaussian_velocity, z)


Z = normal(2000, 1, 1)
EXACT = MEAN + STD * Z
"""In one dimension the flow keeps the order of points, so it is the linear map between the Gaussians."""


@pytest.mark.parametrize("solver", [Euler(steps=1000), Heun(steps=60)], ids=str)
def test_the_velocity_of_a_gaussian_carries_noise_to_it(solver):
    x = end(solver, Z)
    torch.testing.assert_close(x, EXACT, atol=5e-3, rtol=0)
    assert x.mean().item() == pytest.approx(EXACT.mean().item(), abs=2e-3)
    assert x.std().item() == pytest.approx(EXACT.std().item(), abs=2e-3)


@pytest.mark.parametrize(("kind", "order"), [(Euler, 1), (Heun, 2)])
def test_the_order_of_the_solvers(kind, order):
    errors = [(end(kind(steps=steps), Z) - EXACT).abs().max().item() for steps in (40, 80, 160)]
    for coarse, fine in pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.25)


@pytest.mark.parametrize(("solver", "asked"), [(Euler(steps=5), 5), (Heun(steps=5), 10)])
def test_how_often_a_solver_asks_and_when(solver, asked):
    times = []

    def still(x, t):
        times.append(t)
        return torch.zeros_like(x)

    assert torch.equal(solver.follow(still, Z), Z)
    assert len(times) == asked
    assert times[0] == 1.0
    assert times == sorted(times, reverse=True)
    assert all(0 <= t <= 1 for t in times)
    with pytest.raises(ValueError, match="at least one step"):
        replace(solver, steps=0)


# The energy.


def test_the_energy_is_the_squared_error_of_the_velocity():
    prior, labels = sit(), labels_for(4)
    latents, draws = normal(4, 2, 2, 3), generator(0)
    value, hidden = prior.energy(latents, labels, generator(0))
    assert hidden is None
    x = latents.flatten(2).transpose(1, 2)
    noise = torch.randn(x.shape, generator=draws, dtype=x.dtype)
    times = torch.rand(4, generator=draws, dtype=x.dtype)
    for i in range(4):
        xt = (1 - times[i]) * x[i] + times[i] * noise[i]
        predicted, _ = prior.network(xt[None], times[i : i + 1], labels[i : i + 1])
        torch.testing.assert_close(value[i], ((predicted[0] - noise[i] + x[i]) ** 2).sum())


@pytest.mark.parametrize("times", [0.0, 1.0])
def test_every_parameter_and_the_latents_get_a_finite_gradient(times, monkeypatch):
    """Also at the ends of the line, where other parametrisations divide by nothing."""
    prior, labels = sit(), labels_for(4)
    latents = normal(4, 2, 2, 3).requires_grad_()
    monkeypatch.setattr(torch, "rand", lambda n, **_: torch.full((n,), times, dtype=torch.float64))
    prior.energy(latents, labels, generator(0)).value.sum().backward()
    for name, parameter in prior.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert latents.grad.isfinite().all()
    assert latents.grad.abs().sum() > 0


def test_all_parameters_learn():
    prior = sit()
    prior.energy(normal(4, 2, 2, 3), labels_for(4), generator(0)).value.sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in prior.parameters())


def test_an_untrained_network_predicts_no_motion():
    torch.manual_seed(0)
    prior = TINY.build(latent_shape=(2, 2, 3), classes=3)
    predicted, _ = prior.network(normal(4, 6, 2).float(), torch.rand(4), labels_for(4))
    assert not predicted.any()


@pytest.mark.parametrize("std", [0.1, 0.5, 1.0])
def test_the_floor_is_the_error_of_the_best_velocity_of_pure_noise(std):
    """The closed form against the exact velocity of ``N(0, std^2)`` on many draws."""
    draws = torch.Generator().manual_seed(0)
    x = std * torch.randn(400_000, generator=draws, dtype=torch.float64)
    noise = torch.randn(400_000, generator=draws, dtype=torch.float64)
    t = torch.rand(400_000, generator=draws, dtype=torch.float64)
    covariance, variance = t - (1 - t) * std**2, (1 - t) ** 2 * std**2 + t**2
    error = noise - x - covariance / variance * ((1 - t) * x + t * noise)
    assert error.square().mean().item() == pytest.approx(least_error(std), rel=0.02)
    assert sit().least_energy(FixedVariance(std=std).floor) == pytest.approx(least_error(std))


def test_all_tokens_see_each_other_and_the_class_and_the_time():
    prior = sit()
    x = normal(1, 6, 2).requires_grad_()

    def first(x, time, label):
        return prior.network(x, torch.tensor([time]).double(), torch.tensor([label]))[0][0, 0].sum()

    (gradient,) = torch.autograd.grad(first(x, 0.3, 1), x)
    assert (gradient[0].abs().sum(dim=1) > 0).all()
    values = {round(first(x, t, label).item(), 9) for t in (0.3, 0.31) for label in (0, 1, NULL)}
    assert len(values) == 6


def test_times_are_told_in_thousandths():
    network, times = sit().network, torch.tensor([0.0, 0.25, 1.0]).double()
    expected = network.time.mlp(sinusoids(torch.tensor([0.0, 250.0, 1000.0]).double(), 256))
    torch.testing.assert_close(network.time(times), expected)


def test_hidden_tokens_are_those_after_the_layer():
    prior, latents = sit(), normal(4, 2, 2, 3)
    first, last = (
        prior.energy(latents, labels_for(4), generator(0), Align(block=1, layer=layer)).hidden
        for layer in (1, 2)
    )
    assert first.shape == last.shape == (4, 6, 8)
    assert not torch.equal(first, last)
    assert (prior.depths, prior.grid, prior.hidden_width) == ((2,), (2, 3), 8)


# Sampling.


def test_no_guidance_is_weight_nothing_and_guidance_extrapolates():
    prior, z, labels = sit(), normal(3, 6, 2), torch.tensor([0, 1, 2])
    plain = prior.inverse(z, labels)
    assert torch.equal(plain, prior.inverse(z, labels, ClassifierFree(weight=0.0)))
    with torch.no_grad():
        times = torch.full((3,), 0.4).double()
        v_c = prior.network(z, times, labels)[0]
        v_u = prior.network(z, times, torch.full((3,), NULL))[0]
    torch.testing.assert_close(ClassifierFree(weight=0.7).combine(v_c, v_u), v_u + 1.7 * (v_c - v_u))
    one = sit(replace(TINY, solver=Euler(steps=1)))
    with torch.no_grad():
        ones = torch.ones(3).double()
        v_c, v_u = (one.network(z, ones, k)[0] for k in (labels, torch.full((3,), NULL)))
    expected = z - (v_c + 0.7 * (v_c - v_u))
    guided = one.inverse(z, labels, ClassifierFree(weight=0.7))
    torch.testing.assert_close(guided, expected.transpose(1, 2).reshape(3, 2, 2, 3))
    nothing = torch.full((3,), NULL)
    torch.testing.assert_close(
        prior.inverse(z, nothing, ClassifierFree(weight=2.0)), prior.inverse(z, nothing)
    )


@pytest.mark.parametrize("patch", [1, 2])
def test_a_sample_does_not_depend_on_its_batch(patch):
    prior = sit(replace(TINY, patch=patch), shape=(2, 4, 2))
    z, labels = normal(4, *prior.noise_shape), labels_for(4)
    rule = ClassifierFree(weight=0.5)
    together = prior.inverse(z, labels, rule)
    alone = torch.cat([prior.inverse(z[i : i + 1], labels[i : i + 1], rule) for i in range(4)])
    torch.testing.assert_close(together, alone)
    assert together.shape == (4, 2, 4, 2)


def test_rules_of_the_other_prior_are_refused():
    prior, z, labels = sit(), normal(1, 6, 2), torch.tensor([0])
    with pytest.raises(ValueError, match="SiT is guided by ClassifierFree, not by GaussianProduct"):
        prior.inverse(z, labels, GaussianProduct())
    a_flow = flow().build(latent_shape=(2, 2, 3), classes=3).double()
    with pytest.raises(
        ValueError, match="Flow is guided by GaussianProduct or LogScale, not by ClassifierFree"
    ):
        a_flow.inverse(z, labels, ClassifierFree())
    with pytest.raises(ValueError, match="does not divide latents"):
        sit(replace(TINY, patch=2))
    with pytest.raises(ValueError, match="0 or more"):
        ClassifierFree(weight=-1.0)


# In the model's third slot.


def model_of(prior=TINY, *, names=("a", "b", "c")):
    torch.manual_seed(0)
    autoencoder = CompactConfig(latent_channels=2, patch=4, widths=(8, 8))
    config = ModelConfig(autoencoder=autoencoder, posterior=FixedVariance(), prior=prior)
    return config.build(Facts(image_size=16, channels=1, class_names=names))


@pytest.mark.parametrize("names", [("a", "b", "c"), ()])
def test_it_trains_and_samples_where_a_flow_does(names):
    model = model_of(names=names)
    objective = Objective(ObjectiveConfig(), model)
    losses = objective(
        normal(4, 1, 16, 16).float().clamp(-1, 1),
        torch.tensor([0, 1, 2, 0]) if names else torch.full((4,), NULL),
        generator(0),
    )
    losses.total.backward()
    assert any(p.grad is not None and p.grad.any() for p in model.autoencoder.encoder.parameters())
    assert objective.floor == pytest.approx(least_error(0.5))
    config = SampleConfig(guidance=ClassifierFree(weight=1.0), batch=2)
    labels = [0, 1, 2] if names else [NULL] * 3
    images = [part.images for part in sample(model, seeds=[5, 6, 7], labels=labels, config=config)]
    assert torch.cat(images).shape == (3, 1, 16, 16)


def test_a_score_step_needs_a_density():
    model = model_of()
    config = SampleConfig(guidance=None, refinement=GuidedScoreStep())
    with pytest.raises(ValueError, match="SiT has no density: likelihoods and score steps need one"):
        list(sample(model, seeds=[0], labels=[0], config=config))


def test_it_learns_two_points():
    """A tiny network on two latents, one per class: samples land near the latent of their class."""
    torch.manual_seed(0)
    config = SiTConfig(width=32, depth=2, heads=2, solver=Heun(steps=16))
    prior = config.build(latent_shape=(2, 1, 2), classes=2)
    targets = torch.tensor([[[1.0, -1.0], [1.0, 1.0]], [[-1.0, 1.0], [-1.0, -1.0]]])[:, :, None]
    optimizer = torch.optim.Adam(prior.parameters(), lr=3e-3)
    labels = torch.arange(64) % 2
    for step in range(300):
        optimizer.zero_grad()
        prior.energy(targets[labels], labels, generator(step)).value.mean().backward()
        optimizer.step()
    z = normal(64, 2, 2, dtype=torch.float32)
    made = prior.inverse(z, labels)
    near = (made - targets[labels]).square().mean().sqrt()
    far = (made - targets[1 - labels]).square().mean().sqrt()
    assert near < 0.3
    assert far > 1.5
