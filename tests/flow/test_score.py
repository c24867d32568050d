"""Score steps against finite differences and against Gaussians, whose scores are known."""

import math

import pytest
import torch
from torch import distributions

from simflow.flow.guidance import GaussianProduct
from simflow.flow.score import GuidedScoreStep, ScoreDenoise, score
from simflow.shapes import NULL
from tests.laws.cases import FLOWS, build, labels_for, latents_for, noise_for, normal

MEANS, STDS = torch.tensor([1.0, -2.0, 0.5]).double(), torch.tensor([0.7, 1.5, 2.0]).double()


def gaussian(x, labels):
    """Log density of a Gaussian for each of two classes and, last, for none."""
    shape = (-1, 1, 1, 1)
    law = distributions.Normal(MEANS[labels].view(shape), STDS[labels].view(shape))
    return law.log_prob(x).sum(dim=(1, 2, 3))


@pytest.mark.parametrize(
    "name", ["adaln-unchanged-exp", "added-learned-softplus-clip", "starflow", "tarflow"]
)
def test_the_score_is_the_slope_of_the_log_density(name):
    flow, labels = build(FLOWS[name]), labels_for()
    x = latents_for(flow)
    gradient = score(flow.log_prob, x, labels)
    assert not gradient.requires_grad
    for seed in range(3):
        direction = normal(*x.shape, seed=seed)
        above, below = (flow.log_prob(x + step * direction, labels) for step in (1e-5, -1e-5))
        slope = (gradient * direction).sum(dim=(1, 2, 3))
        torch.testing.assert_close((above - below).detach() / 2e-5, slope, atol=1e-6, rtol=1e-6)


def test_the_guided_step_of_a_gaussian():
    """Eq. 6: ``x + gamma (grad log p(x|c) - grad log p(x))``."""
    x, labels = normal(4, 2, 3, 3), torch.tensor([0, 1, NULL, 0])
    mean, std = (table[labels].view(-1, 1, 1, 1) for table in (MEANS, STDS))
    expected = x + 0.25 * (-(x - mean) / std**2 + (x - MEANS[NULL]) / STDS[NULL] ** 2)
    refined = GuidedScoreStep().refine(gaussian, x, labels)
    torch.testing.assert_close(refined, expected)
    torch.testing.assert_close(refined[2], x[2])
    torch.testing.assert_close(GuidedScoreStep(gamma=0.0).refine(gaussian, x, labels), x)


@pytest.mark.parametrize(("spread", "noise"), [(1.0, 0.3), (0.2, 0.5), (3.0, 0.1)])
def test_denoising_is_the_posterior_mean(spread, noise):
    """Tweedie: data ``N(0, s^2)`` seen through noise of standard deviation t has mean ``x s^2 / (s^2 + t^2)``."""
    total = math.hypot(spread, noise)
    x, labels = total * normal(4, 2, 3, 3), labels_for()

    def noisy(y, labels):
        return distributions.Normal(0.0, total).log_prob(y).sum(dim=(1, 2, 3))

    denoised = ScoreDenoise(std=noise).refine(noisy, x, labels)
    torch.testing.assert_close(denoised, x * spread**2 / total**2)
    further = ScoreDenoise(std=noise, multiplier=1.4).refine(noisy, x, labels)
    torch.testing.assert_close(further - x, 1.4 * (denoised - x))


def test_denoising_with_a_flow_that_knows_the_density():
    flow, (spread, noise) = build(FLOWS["one learned block"], latent_shape=(2, 2, 2)), (1.2, 0.5)
    with torch.no_grad():
        flow.chain()[0].head.weight.zero_()
        flow.chain()[0].head.bias.copy_(torch.tensor([math.log(math.hypot(spread, noise))] * 2 + [0.0] * 2))
    x = latents_for(flow)
    denoised = ScoreDenoise(std=noise).refine(flow.log_prob, x, labels_for())
    torch.testing.assert_close(denoised, x * spread**2 / (spread**2 + noise**2))


@pytest.mark.parametrize("refinement", [GuidedScoreStep(gamma=0.5), ScoreDenoise(std=0.3)])
def test_a_step_depends_on_no_batch_mate_and_moves_no_parameter(refinement):
    flow, labels = build(FLOWS["starflow"]), labels_for()
    x = latents_for(flow)
    given = x.clone()
    with torch.no_grad():
        together = refinement.refine(flow.log_prob, x, labels)
    assert torch.equal(x, given)
    assert not together.requires_grad
    assert all(parameter.grad is None for parameter in flow.parameters())
    for i in range(4):
        alone = refinement.refine(flow.log_prob, x[i : i + 1], labels[i : i + 1])
        torch.testing.assert_close(alone, together[i : i + 1], atol=1e-10, rtol=1e-10)


def test_a_guided_step_raises_the_ratio_of_the_densities():
    """A small step climbs ``log p(x|c) - log p(x)``; images without a class stay where they are."""
    flow, labels = build(FLOWS["adaln-unchanged-exp"]), labels_for()
    x = flow.inverse(noise_for(flow), labels, GaussianProduct(weight=1.0))
    refined = GuidedScoreStep(gamma=0.01).refine(flow.log_prob, x, labels)
    nothing = torch.full_like(labels, NULL)

    def ratio(y):
        return flow.log_prob(y, labels) - flow.log_prob(y, nothing)

    known = labels != NULL
    assert (ratio(refined) > ratio(x))[known].all()
    torch.testing.assert_close(refined[~known], x[~known], atol=1e-12, rtol=0)
