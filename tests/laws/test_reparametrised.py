"""Samples with a gradient: they are the samples, and with passes enough their gradient is that of the inverse."""

import pytest
import torch

from simflow.flow.guidance import GaussianProduct, LogScale
from tests.laws.cases import FLOWS, build, jacobian, labels_for, latents_for, noise_for, normal
from tests.laws.cases import flow as cases_flow

EXACT = 12
"""More passes than any flow here has tokens."""
RULES = [
    GaussianProduct(weight=1.5),
    LogScale(weight=0.8, annealed=True),
    LogScale(weight=0.8, temperature=0.5),
]
VARIED = ["adaln-unchanged-exp", "tarflow", "starflow", "prefix", "rotary", "deep labels"]


@pytest.mark.parametrize("passes", [1, 2, EXACT])
@pytest.mark.parametrize("name", FLOWS)
def test_it_is_the_inverse(name, passes):
    flow, labels = build(FLOWS[name]), labels_for()
    z = noise_for(flow)
    given = z.clone()
    assert torch.equal(flow.reparametrised(z, labels, passes=passes), flow.inverse(z, labels))
    assert torch.equal(z, given), "the noise was written to"


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", VARIED)
def test_guided_it_is_the_guided_inverse(name, rule):
    flow, labels = build(FLOWS[name]), labels_for()
    z = noise_for(flow)
    assert torch.equal(flow.reparametrised(z, labels, rule), flow.inverse(z, labels, rule))


def forwards(name):
    """A flow, a label, latents, their noise, and the Jacobian of the one in the other."""
    flow, labels = build(FLOWS[name]), labels_for(1)
    x = latents_for(flow, 1)
    with torch.no_grad():
        z, _ = flow.forward(x, labels)
    towards = jacobian(lambda x: flow.forward(x, labels)[0], x).reshape(x.numel(), x.numel())
    return flow, labels, x, z, towards


@pytest.mark.parametrize("name", FLOWS)
def test_with_passes_enough_the_gradient_in_the_noise_is_that_of_the_inverse(name):
    """Inverse function theorem: the Jacobian of the inverse is the inverse of that of the flow."""
    flow, labels, _, z, towards = forwards(name)
    back = jacobian(lambda z: flow.reparametrised(z, labels, passes=EXACT), z).reshape(towards.shape)
    torch.testing.assert_close(back @ towards, torch.eye(len(towards)).double(), atol=1e-9, rtol=0)


@pytest.mark.parametrize("name", FLOWS)
def test_with_passes_enough_the_gradient_in_the_parameters_is_that_of_the_inverse(name):
    """Implicit function theorem: ``d x / d theta = -(d z / d x)^-1 d z / d theta``."""
    flow, labels, x, z, towards = forwards(name)
    wish = normal(*x.shape, seed=5)
    carried = torch.linalg.solve(towards.T, wish.flatten()).reshape(z.shape)
    parameters = [p for p in flow.parameters() if p.requires_grad]
    expected = torch.autograd.grad(
        -(flow.forward(x, labels)[0] * carried).sum(), parameters, allow_unused=True
    )
    sampled = flow.reparametrised(z, labels, passes=EXACT)
    found = torch.autograd.grad((sampled * wish).sum(), parameters, allow_unused=True)
    for one, other, parameter in zip(found, expected, parameters, strict=True):
        zero = torch.zeros_like(parameter)
        one, other = (zero if each is None else each for each in (one, other))
        torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-7)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", VARIED)
def test_guided_gradients_are_finite_differences(name, rule):
    flow, labels = build(FLOWS[name]), labels_for()
    z = noise_for(flow)
    wish = normal(len(z), *flow.latent_shape, seed=5)
    parameters = [p for p in flow.parameters() if p.requires_grad]
    ways = [normal(*p.shape, seed=7) for p in parameters]
    sampled = flow.reparametrised(z, labels, rule, passes=EXACT)
    slopes = torch.autograd.grad((sampled * wish).sum(), parameters, allow_unused=True)
    found = sum((s * w).sum() for s, w in zip(slopes, ways, strict=True) if s is not None)
    values = []
    for step in (1e-5, -2e-5):
        with torch.no_grad():
            for parameter, way in zip(parameters, ways, strict=True):
                parameter += step * way
        values.append((flow.inverse(z, labels, rule) * wish).sum())
    torch.testing.assert_close(found, (values[0] - values[1]) / 2e-5, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("passes", [1, 2, 3])
def test_passes_are_the_length_of_chains(passes):
    """In one block whose layer sees one token back, a token feels noise so many tokens before it, and no further."""
    flow = build(cases_flow(depths=(1,)), latent_shape=(1, 1, 6))
    z, labels = noise_for(flow, 1), labels_for(1)
    exact = jacobian(lambda z: flow.reparametrised(z, labels, passes=EXACT), z).reshape(6, 6)
    found = jacobian(lambda z: flow.reparametrised(z, labels, passes=passes), z).reshape(6, 6)
    assert torch.equal(found.triu(1), torch.zeros(6, 6).double())
    torch.testing.assert_close(found.diagonal(), exact.diagonal())
    if passes == 1:
        assert torch.equal(found, found.diag().diag())
    else:  # token i hears token i - 1 in one hop, whatever comes between others
        torch.testing.assert_close(found.diagonal(-1), exact.diagonal(-1))
        assert found.diagonal(-1).abs().min() > 0
    for hops in range(1, passes):
        torch.testing.assert_close(found.diagonal(-hops), exact.diagonal(-hops))
    if passes < 6:
        assert not torch.allclose(found.diagonal(-passes), exact.diagonal(-passes))
