"""Half precision touches the networks only: the affine maps, their volume and the running tokens stay wide."""

import pytest
import torch

from simflow.flow.order import reorder
from tests.laws.cases import FLOWS, build, labels_for, latents_for, noise_for

NAMES = [name for name in FLOWS if name != "checkpointing"]


def autocast():
    return torch.autocast("cpu", torch.bfloat16)


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_is_near_float32(name):
    flow, labels = build(FLOWS[name], dtype=torch.float32), labels_for()
    x = latents_for(flow, dtype=torch.float32)
    z, log_det = flow.forward(x, labels)
    with autocast():
        rough, rough_log_det = flow.forward(x, labels)
        log_prob = flow.log_prob(x, labels)
    assert rough.dtype == rough_log_det.dtype == log_prob.dtype == torch.float32
    assert not torch.equal(rough, z), "autocast did nothing"
    torch.testing.assert_close(rough, z, atol=0.08, rtol=0.05)
    torch.testing.assert_close(rough_log_det, log_det, atol=0.08, rtol=0.05)


@pytest.mark.parametrize("name", NAMES)
def test_the_affine_map_is_exact_under_autocast(name):
    flow, labels = build(FLOWS[name], dtype=torch.float32), labels_for()
    block = flow.chain()[0]
    x = noise_for(flow, dtype=torch.float32)
    with autocast():
        condition = block.condition(labels)
        (shift, log_scale), _ = block.affine_of(reorder(x, block.order), condition)
        z, log_det, _ = block.forward(x, condition)
        x, z = reorder(x, block.order), reorder(z, block.order)
    assert shift.dtype == log_scale.dtype == torch.float32
    expected = (x.double() - shift.double()) * torch.exp(-log_scale.double())
    torch.testing.assert_close(z.double(), expected, atol=1e-5, rtol=1e-6)
    torch.testing.assert_close(log_det.double(), -log_scale.double().sum(dim=(1, 2)), atol=1e-5, rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_sampling_in_bfloat16_undoes_training_in_bfloat16(name):
    flow, labels = build(FLOWS[name], dtype=torch.float32), labels_for()
    x = latents_for(flow, dtype=torch.float32)
    with autocast(), torch.no_grad():
        z, _ = flow.forward(x, labels)
        back = flow.inverse(z, labels)
    assert back.dtype == torch.float32
    torch.testing.assert_close(back, x, atol=0.1, rtol=0.05)


@pytest.mark.parametrize("scale", ["exp", "softplus"])
@pytest.mark.parametrize("first", ["unchanged", "learned"])
@pytest.mark.parametrize(("log_scale", "shift"), [(1e4, 1e4), (-1e4, 1e4), (1e4, -1e4), (-1e4, -1e4)])
def test_huge_outputs_overflow_nowhere_and_still_invert(scale, first, log_scale, shift):
    flow = build(FLOWS[f"adaln-{first}-{scale}"])
    x, labels = latents_for(flow), labels_for()
    with torch.no_grad():
        flow.chain()[0].head.bias.copy_(torch.tensor([log_scale] * 2 + [shift] * 2))
    z, log_det = flow.forward(x, labels)
    torch.testing.assert_close(flow.inverse(z.detach(), labels), x, atol=1e-5, rtol=1e-5)
    inside = torch.autograd.functional.jacobian(
        lambda v: flow.chain()[0](v, flow.chain()[0].condition(labels))[0], z
    )
    square = inside[0, :, :, 0].reshape(z[0].numel(), z[0].numel())
    _, volume, _ = flow.chain()[0](z, flow.chain()[0].condition(labels))
    torch.testing.assert_close(torch.linalg.slogdet(square).logabsdet, volume[0], atol=1e-8, rtol=1e-8)
    narrow = flow.float()
    z, log_det = narrow.forward(x.float(), labels)
    log_det.sum().backward()
    assert z.isfinite().all()
    assert log_det.isfinite().all()
    for key, parameter in narrow.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), (
            f"the gradient of {key} is not finite"
        )
    assert narrow.inverse(z.detach(), labels).isfinite().all()
