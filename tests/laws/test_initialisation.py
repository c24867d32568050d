"""A flow begins as the identity, and yet everything in it learns."""

import pytest
import torch

from tests.laws.cases import FLOWS, build, labels_for, latents_for, normal

TOKEN_ORDERS = {name: config for name, config in FLOWS.items() if config.patch == 1}


@pytest.mark.parametrize("name", FLOWS)
def test_identity_at_initialisation(name):
    config = FLOWS[name]
    random = build(config)
    flow = config.build(latent_shape=random.latent_shape, classes=3).double()
    x, labels = latents_for(flow), labels_for()
    z, log_det = flow.forward(x, labels)
    torch.testing.assert_close(flow.inverse(z.detach(), labels), x, atol=1e-12, rtol=0)
    torch.testing.assert_close(log_det, torch.zeros(4).double(), atol=1e-12, rtol=0)
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(x).sum(dim=(1, 2, 3))
    torch.testing.assert_close(flow.log_prob(x, labels), expected, atol=1e-10, rtol=0)
    if config.patch == 1:
        torch.testing.assert_close(z, x.flatten(2).mT, atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", FLOWS)
def test_every_parameter_learns_within_three_steps(name):
    """Zero heads and zero gates pass a gradient on after one step each."""
    config = FLOWS[name]
    flow = config.build(latent_shape=build(config).latent_shape, classes=3).double()
    optimizer = torch.optim.SGD(flow.parameters(), lr=0.01)
    x, labels = latents_for(flow, 8), labels_for(8)
    moved: set[str] = set()
    for _ in range(3):
        optimizer.zero_grad()
        flow.energy(x, labels, torch.Generator()).value.mean().backward()
        for key, parameter in flow.named_parameters():
            assert parameter.grad is not None, f"{key} has no gradient"
            assert parameter.grad.isfinite().all(), f"the gradient of {key} is not finite"
            if parameter.grad.any():
                moved.add(key)
        optimizer.step()
    assert moved == {key for key, _ in flow.named_parameters()}


@pytest.mark.parametrize("name", FLOWS)
def test_every_parameter_has_a_gradient(name):
    flow = build(FLOWS[name])
    flow.energy(latents_for(flow, 8), labels_for(8), torch.Generator()).value.mean().backward()
    for key, parameter in flow.named_parameters():
        assert parameter.grad is not None, f"{key} has no gradient"
        assert parameter.grad.isfinite().all(), f"the gradient of {key} is not finite"
        assert parameter.grad.any(), f"the gradient of {key} is zero"


@pytest.mark.parametrize("name", ["adaln-unchanged-exp", "added-learned-softplus-clip", "tarflow"])
def test_gradients_are_those_of_finite_differences(name):
    flow = build(FLOWS[name])
    x, labels = latents_for(flow, 2), labels_for(2)

    def energy():
        return flow.energy(x, labels, torch.Generator()).value.sum()

    energy().backward()
    for key, parameter in flow.named_parameters():
        direction = normal(*parameter.shape, seed=3)
        assert parameter.grad is not None
        slope = (parameter.grad * direction).sum()
        with torch.no_grad():
            parameter += 1e-6 * direction
            above = energy()
            parameter -= 2e-6 * direction
            below = energy()
            parameter += 1e-6 * direction
        torch.testing.assert_close((above - below) / 2e-6, slope, atol=1e-6, rtol=1e-5, msg=key)
