"""Score steps against finite differences and against Gaussians, whose scores are known; their memory and their cost."""

import math
import weakref

import pytest
import torch
from torch import distributions
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from simflow import settings
from simflow.flow.guidance import GaussianProduct
from simflow.flow.score import CHUNK, GuidedScoreStep, ScoreDenoise, score
from simflow.sample import SampleConfig
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


def test_denoising_asks_for_the_score_of_the_class():
    x, labels = normal(4, 2, 3, 3), labels_for()

    def noisy(y, labels):
        return distributions.Normal(labels.view(-1, 1, 1, 1).to(y.dtype), 1.0).log_prob(y).sum(dim=(1, 2, 3))

    denoised = ScoreDenoise(std=0.5).refine(noisy, x, labels)
    torch.testing.assert_close(denoised, x + 0.25 * (labels.view(-1, 1, 1, 1) - x))


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


class Kept:
    """A tensor that a backward pass waits for."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor


def peak(work, parameters) -> int:
    """Most bytes that backward passes waited for at once, parameters aside."""
    alive, most = 0, 0
    owned = {parameter.data_ptr() for parameter in parameters}

    def drop(size: int) -> None:
        nonlocal alive
        alive -= size

    def pack(tensor: torch.Tensor) -> Kept:
        nonlocal alive, most
        kept = Kept(tensor)
        if tensor.data_ptr() not in owned:
            size = tensor.numel() * tensor.element_size()
            alive, most = alive + size, max(most, alive + size)
            weakref.finalize(kept, drop, size)
        return kept

    with saved_tensors_hooks(pack, lambda kept: kept.tensor):
        work()
    assert alive == 0
    return most


@pytest.mark.parametrize("refinement", [GuidedScoreStep(gamma=0.5), ScoreDenoise(std=0.3)])
@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 100])
def test_chunks_change_nothing(refinement, chunk):
    flow, labels = build(FLOWS["starflow"]), labels_for(5)
    x = latents_for(flow, 5)
    whole = type(refinement)(**vars(refinement) | {"chunk": 5}).refine(flow.log_prob, x, labels)
    parts = type(refinement)(**vars(refinement) | {"chunk": chunk}).refine(flow.log_prob, x, labels)
    torch.testing.assert_close(parts, whole, atol=1e-12, rtol=1e-12)
    assert (whole - x).abs().max() > 1e-3


def test_where_images_do_not_mix_chunks_change_no_bit():
    x, labels = normal(4, 2, 3, 3), torch.tensor([0, 1, NULL, 0])
    whole = score(gaussian, x, labels)
    assert all(torch.equal(score(gaussian, x, labels, chunk=chunk), whole) for chunk in (1, 2, 3))


def test_labels_go_with_their_images_a_chunk_at_a_time():
    seen = []

    def noted(x, labels):
        seen.append((len(x), labels.tolist()))
        return gaussian(x, labels)

    GuidedScoreStep(chunk=2).refine(noted, normal(5, 2, 3, 3), torch.tensor([0, 1, 1, NULL, 0]))
    nothing = [(2, [NULL] * 2), (2, [NULL] * 2), (1, [NULL])]
    assert seen == [(2, [0, 1]), (2, [1, NULL]), (1, [0]), *nothing]
    seen.clear()
    score(noted, normal(CHUNK + 1, 2, 3, 3), torch.zeros(CHUNK + 1, dtype=torch.int64))
    assert [count for count, _ in seen] == [CHUNK, 1]


@pytest.mark.parametrize("name", ["adaln-unchanged-exp", "starflow", "checkpointing"])
@pytest.mark.parametrize("learning", [False, True])
def test_memory_grows_with_the_chunk_and_not_with_the_batch(name, learning):
    flow = build(FLOWS[name]).requires_grad_(learning)

    def bytes_for(batch: int, chunk: int) -> int:
        x, labels = latents_for(flow, batch), labels_for(batch)
        step = GuidedScoreStep(chunk=chunk)
        return peak(lambda: step.refine(flow.log_prob, x, labels), flow.parameters())

    assert bytes_for(8, 2) == bytes_for(16, 2) == bytes_for(2, 2)
    assert bytes_for(8, 2) < 0.3 * bytes_for(8, 8)


def test_checkpointing_keeps_less_in_a_chunk():
    x, labels = normal(4, 2, 2, 3), labels_for()
    least, usual = (build(FLOWS[name]) for name in ("checkpointing", "adaln-unchanged-exp"))
    kept = [peak(lambda f=flow: score(f.log_prob, x, labels), flow.parameters()) for flow in (least, usual)]
    assert kept[0] < 0.7 * kept[1]
    torch.testing.assert_close(*(score(flow.log_prob, x, labels) for flow in (least, usual)))


@pytest.mark.parametrize("learning", [False, True])
def test_eq_6_costs_four_forward_passes_and_nothing_for_parameters(learning):
    """Matrix products only, which is what large models do; attention between tokens is not counted on the CPU."""
    flow = build(FLOWS["tarflow"], dtype=torch.float32).requires_grad_(learning)
    x, labels = latents_for(flow, dtype=torch.float32), labels_for()

    def products(work) -> int:
        with FlopCounterMode(display=False) as counter:
            work()
        return counter.get_total_flops()

    one = products(lambda: flow.log_prob(x, labels))
    assert 3.5 < products(lambda: GuidedScoreStep().refine(flow.log_prob, x, labels)) / one <= 4
    assert 1.75 < products(lambda: ScoreDenoise(std=0.3).refine(flow.log_prob, x, labels)) / one <= 2


def test_a_run_that_knew_no_chunks_is_read():
    old = {"refinement": {"type": "GuidedScoreStep", "gamma": 0.1}}
    assert settings.from_dict(SampleConfig, old).refinement == GuidedScoreStep(gamma=0.1, chunk=CHUNK)


@pytest.mark.parametrize("make", [GuidedScoreStep, lambda **words: ScoreDenoise(std=0.3, **words)])
def test_a_chunk_without_images_is_refused(make):
    with pytest.raises(ValueError, match="chunks of at least 1 image, not 0"):
        make(chunk=0)
    with pytest.raises(ValueError, match="at least 1 image, not -1"):
        score(gaussian, normal(1, 2, 3, 3), torch.tensor([0]), chunk=-1)
