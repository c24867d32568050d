"""The cached inverse is the dullest loop, guided or not."""

import pytest
import torch

from simflow.flow.guidance import GaussianProduct, LogScale
from simflow.nn.tokens import to_tokens
from simflow.shapes import NULL
from tests.laws.cases import FLOWS, build, dull_inverse, labels_for, noise_for

GUIDED = [name for name in FLOWS if "softplus" not in name and "clip" not in name]
"""Guidance sees affine maps, not how outputs became scales: one line of the table for each kind of block."""


@pytest.mark.parametrize("name", FLOWS)
def test_the_cached_inverse_is_the_dullest_loop(name):
    flow, labels = build(FLOWS[name]), labels_for()
    z = noise_for(flow)
    given = z.clone()
    cached = flow.inverse(z, labels)
    assert torch.equal(z, given), "the noise was written to"
    assert cached.shape == (4, *flow.latent_shape)
    assert not cached.requires_grad
    torch.testing.assert_close(cached, dull_inverse(flow, z, labels), atol=1e-10, rtol=1e-10)


def product_rule(weight, *, only_deep):
    def combine(conditional, unconditional, j, deep):
        if only_deep and not deep:
            return conditional
        (mean, log_scale), (other, log_other) = conditional, unconditional
        s = torch.minimum(torch.ones(()), (2 * log_scale).exp() / (2 * log_other).exp())
        d = 1 + weight - weight * s
        return ((1 + weight) * mean - weight * s * other) / d, torch.log(log_scale.exp() / d.sqrt())

    return combine


def linear_rule(weight, *, tokens, annealed=False, on_shift=True, on_scale=True):
    def combine(conditional, unconditional, j, deep):
        w = weight * j / (tokens - 1) if annealed else weight
        return tuple(
            c + w * (c - u) if on else c
            for c, u, on in zip(conditional, unconditional, (on_shift, on_scale), strict=True)
        )

    return combine


@pytest.mark.parametrize("name", GUIDED)
def test_guidance_by_the_gaussian_product(name):
    flow, labels = build(FLOWS[name]), labels_for()
    z = noise_for(flow)
    given = z.clone()
    deep = flow.inverse(z, labels, GaussianProduct(weight=1.5))
    everywhere = flow.inverse(z, labels, GaussianProduct(weight=1.5, blocks="all"))
    assert torch.equal(z, given), "the noise was written to"
    for result, only_deep in ((deep, True), (everywhere, False)):
        expected = dull_inverse(flow, z, labels, product_rule(1.5, only_deep=only_deep))
        torch.testing.assert_close(result, expected, atol=1e-10, rtol=1e-10)
    if FLOWS[name].labelled == "all":
        assert torch.equal(deep, everywhere) == (len(flow.chain()) == 1)
    dropped = labels == NULL
    torch.testing.assert_close(everywhere[dropped], flow.inverse(z, labels)[dropped], atol=1e-10, rtol=1e-10)
    assert (everywhere - flow.inverse(z, labels))[~dropped].abs().amax(dim=(1, 2, 3)).min() > 1e-3


@pytest.mark.parametrize("annealed", [False, True])
@pytest.mark.parametrize("name", GUIDED)
def test_guidance_of_the_log_scale(name, annealed):
    flow, labels = build(FLOWS[name]), labels_for()
    z = noise_for(flow)
    guided = flow.inverse(z, labels, LogScale(weight=0.8, annealed=annealed))
    combine = linear_rule(0.8, tokens=flow.noise_shape[0], annealed=annealed)
    torch.testing.assert_close(guided, dull_inverse(flow, z, labels, combine), atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("name", ["adaln-unchanged-exp", "tarflow", "starflow"])
def test_guidance_away_from_another_attention_temperature(name, classes):
    """TarFlow's guidance of models without classes: the unconditional pass at a temperature."""
    flow = build(FLOWS[name], classes=classes)
    labels = labels_for() if classes else torch.full((4,), NULL)
    z, temperature = noise_for(flow), torch.full((4,), 0.5)
    by_product = flow.inverse(z, labels, GaussianProduct(weight=1.5, temperature=0.5))
    expected = dull_inverse(flow, z, labels, product_rule(1.5, only_deep=True), temperature=temperature)
    torch.testing.assert_close(by_product, expected, atol=1e-10, rtol=1e-10)
    linear = flow.inverse(z, labels, LogScale(weight=0.8, temperature=0.5))
    combine = linear_rule(0.8, tokens=flow.noise_shape[0])
    expected = dull_inverse(flow, z, labels, combine, temperature=temperature)
    torch.testing.assert_close(linear, expected, atol=1e-10, rtol=1e-10)
    plain = flow.inverse(z, labels)
    assert (by_product - plain).abs().max() > 1e-4
    assert torch.equal(flow.inverse(z, labels, LogScale(weight=0.0, temperature=0.5)), plain)


@pytest.mark.parametrize("name", ["reversed first", "tarflow", "starflow", "volume-preserving"])
def test_the_trajectory_ends_at_the_latents(name):
    flow, labels = build(FLOWS[name]), labels_for()
    z = noise_for(flow)
    states = flow.trajectory(z, labels)
    assert len(states) == len(flow.chain()) + 1
    assert torch.equal(states[-1], flow.inverse(z, labels))
    assert torch.equal(to_tokens(states[0], flow.patch), z)
    x = to_tokens(states[-1], flow.patch)
    for block, state in zip(flow.chain(), states[-2::-1], strict=True):
        x, _, _ = block.forward(x, block.condition(labels))
        if state is not states[0]:
            torch.testing.assert_close(x, to_tokens(state, flow.patch), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("what", ["scale", "shift"])
def test_guidance_of_one_parameter(what):
    flow, labels = build(FLOWS["tarflow"]), labels_for()
    z = noise_for(flow)
    combine = linear_rule(0.8, tokens=6, on_shift=what == "shift", on_scale=what == "scale")
    guided = flow.inverse(z, labels, LogScale(weight=0.8, what=what))
    torch.testing.assert_close(guided, dull_inverse(flow, z, labels, combine), atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("name", ["adaln-unchanged-exp", "tarflow", "starflow"])
def test_guidance_of_weight_zero_is_none(name):
    flow, labels = build(FLOWS[name]), labels_for()
    z = noise_for(flow)
    plain = flow.inverse(z, labels, None)
    for rule in (
        GaussianProduct(weight=0.0),
        GaussianProduct(weight=0.0, blocks="all"),
        LogScale(weight=0.0),
    ):
        assert torch.equal(flow.inverse(z, labels, rule), plain)


@pytest.mark.parametrize("rule", [GaussianProduct(weight=2.0), LogScale(weight=1.0, annealed=True)])
@pytest.mark.parametrize("name", ["adaln-unchanged-exp", "tarflow", "starflow"])
def test_batch_mates_do_not_matter_to_a_guided_sample(name, rule):
    flow, labels = build(FLOWS[name]), labels_for(5)
    z = noise_for(flow, 5)
    together = flow.inverse(z, labels, rule)
    for i in range(5):
        one = slice(i, i + 1)
        alone = flow.inverse(z[one], labels[one], rule)
        torch.testing.assert_close(alone, together[one], atol=1e-10, rtol=1e-10)
