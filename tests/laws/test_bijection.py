"""A flow is a bijection with a known change of volume, and both directions are one map."""

import pytest
import torch
from torch.autograd.functional import jacobian

from simflow.nn.tokens import to_latents
from simflow.shapes import NULL
from tests.laws.cases import FLOWS, build, labels_for, latents_for, noise_for


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
@pytest.mark.parametrize("name", FLOWS)
def test_inverse_both_ways(name, dtype, tolerance):
    flow, labels = build(FLOWS[name], dtype=dtype), labels_for()
    x, z = latents_for(flow, dtype=dtype), noise_for(flow, dtype=dtype)
    forward, log_det = flow.forward(x, labels)
    assert forward.dtype == log_det.dtype == dtype
    torch.testing.assert_close(flow.inverse(forward.detach(), labels), x, atol=tolerance, rtol=tolerance)
    back, _ = flow.forward(flow.inverse(z, labels), labels)
    torch.testing.assert_close(back.detach(), z, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("name", FLOWS)
def test_log_det_is_that_of_the_jacobian(name):
    flow = build(FLOWS[name])
    x, labels = latents_for(flow, 3), labels_for(3)
    _, log_det = flow.forward(x, labels)
    assert log_det.abs().min() > 0.05, "the case is too near the identity to test anything"
    for image in range(3):
        label = labels[image : image + 1]
        full = jacobian(lambda v, label=label: flow.forward(v[None], label)[0][0], x[image])
        square = full.reshape(x[image].numel(), x[image].numel())
        expected = torch.linalg.slogdet(square).logabsdet
        torch.testing.assert_close(log_det[image], expected, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("name", FLOWS)
def test_the_class_and_its_absence_matter(name):
    flow = build(FLOWS[name])
    x = latents_for(flow, 1)
    noises = [flow.forward(x, torch.tensor([label]))[0] for label in (0, 1, 2, NULL)]
    for i, first in enumerate(noises):
        for second in noises[i + 1 :]:
            assert (first - second).abs().max() > 1e-3


@pytest.mark.parametrize("name", FLOWS)
def test_batch_mates_do_not_matter(name):
    flow, labels = build(FLOWS[name]), labels_for(3)
    x, z = latents_for(flow, 3), noise_for(flow, 3)
    together, log_dets = flow.forward(x, labels)
    inverses, densities = flow.inverse(z, labels), flow.log_prob(x, labels)
    for i in range(2):
        one = slice(i, i + 1)
        alone, log_det = flow.forward(x[one], labels[one])
        torch.testing.assert_close(alone, together[one], atol=1e-10, rtol=1e-10)
        torch.testing.assert_close(log_det, log_dets[one], atol=1e-10, rtol=1e-10)
        torch.testing.assert_close(flow.log_prob(x[one], labels[one]), densities[one], atol=1e-10, rtol=1e-10)
        torch.testing.assert_close(flow.inverse(z[one], labels[one]), inverses[one], atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("name", FLOWS)
def test_float32_is_near_float64(name):
    narrow, wide = build(FLOWS[name], dtype=torch.float32), build(FLOWS[name])
    x, labels = latents_for(wide), labels_for()
    z, log_det = narrow.forward(x.float(), labels)
    expected, expected_log_det = wide.forward(x, labels)
    torch.testing.assert_close(z.double(), expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(log_det.double(), expected_log_det, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", FLOWS)
def test_modes_and_state_dicts_change_nothing(name):
    flow, labels = build(FLOWS[name]), labels_for()
    x, z = latents_for(flow), noise_for(flow)
    other = build(FLOWS[name], seed=7)
    assert not torch.equal(other.forward(x, labels)[0], flow.forward(x, labels)[0])
    other.load_state_dict(flow.state_dict())
    for changed in (flow.eval(), flow.train(), other):
        assert torch.equal(changed.forward(x, labels)[0], flow.forward(x, labels)[0])
    assert torch.equal(other.eval().inverse(z, labels), flow.inverse(z, labels))
    assert all(torch.equal(value, flow.state_dict()[key]) for key, value in other.state_dict().items())


def test_recomputing_layers_changes_no_gradient():
    plain, recomputed = build(FLOWS["adaln-unchanged-exp"]), build(FLOWS["checkpointing"])
    for flow in (plain, recomputed):
        flow.log_prob(latents_for(flow), labels_for()).sum().backward()
    for one, two in zip(plain.parameters(), recomputed.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, atol=1e-12, rtol=1e-12)


def test_noise_without_change_is_the_latent_in_raster_order_of_patches():
    config = FLOWS["patch 2"]
    flow = config.build(latent_shape=(3, 4, 6), classes=2)
    z = torch.randn(2, *flow.noise_shape)
    assert flow.noise_shape == (6, 12)
    assert torch.equal(flow.inverse(z, torch.tensor([0, 1])), to_latents(z, 2, (3, 4, 6)))


def test_a_patch_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="a patch of 2 does not divide latents of 4 x 3"):
        FLOWS["patch 2"].build(latent_shape=(1, 4, 3), classes=0)


def test_one_token_and_no_classes():
    for name in ("adaln-unchanged-exp", "adaln-learned-exp"):
        flow = build(FLOWS[name], latent_shape=(2, 1, 1), classes=0)
        x, labels = latents_for(flow), torch.full((4,), NULL)
        z, log_det = flow.forward(x, labels)
        torch.testing.assert_close(flow.inverse(z.detach(), labels), x)
        if name == "adaln-unchanged-exp":
            assert torch.equal(z[:, 0], x[:, :, 0, 0])
            assert not log_det.any()
