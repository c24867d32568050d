"""The affine map of a token: its direction, its volume, and how outputs of a network become one."""

import math

import pytest
import torch
from torch import distributions

from simflow.flow.affine import LARGEST, Affine, from_outputs

OUTPUTS = torch.tensor([-3.0, -0.5, 0.0, 0.5, 3.0, 7.0, -7.0, 1.0], dtype=torch.float64)[None, None]


def test_forward_is_towards_noise():
    affine = Affine(
        shift=torch.tensor([[[1.0, 2.0]]]), log_scale=torch.tensor([[[math.log(2.0), math.log(0.5)]]])
    )
    x = torch.tensor([[[3.0, 3.0]]])
    torch.testing.assert_close(affine.forward(x), torch.tensor([[[1.0, 2.0]]]))
    torch.testing.assert_close(affine.inverse(torch.tensor([[[1.0, 2.0]]])), x)
    torch.testing.assert_close(affine.log_det(), torch.tensor([0.0]))


def test_log_det_is_a_sum_over_the_numbers_of_each_image():
    log_scale = torch.arange(12.0).reshape(2, 3, 2)
    log_det = Affine(shift=torch.zeros(2, 3, 2), log_scale=log_scale).log_det()
    torch.testing.assert_close(log_det, torch.tensor([-15.0, -51.0]))


def test_an_affine_map_of_a_gaussian_is_its_density():
    affine = Affine(shift=torch.randn(2, 3, 2), log_scale=torch.randn(2, 3, 2))
    x = torch.randn(2, 3, 2)
    law = distributions.Normal(affine.shift, affine.log_scale.exp())
    standard = distributions.Normal(0.0, 1.0).log_prob(affine.forward(x)).sum(dim=(1, 2))
    torch.testing.assert_close(standard + affine.log_det(), law.log_prob(x).sum(dim=(1, 2)))


def test_outputs_are_log_scale_then_shift():
    affine = from_outputs(OUTPUTS, scale="exp", clip=None)
    assert torch.equal(affine.log_scale, OUTPUTS[..., :4])
    assert torch.equal(affine.shift, OUTPUTS[..., 4:])


def test_a_softplus_scale_is_one_at_zero():
    affine = from_outputs(OUTPUTS, scale="softplus", clip=None)
    expected = torch.log1p((OUTPUTS[..., :4] + math.log(math.e - 1)).exp())
    torch.testing.assert_close(affine.log_scale.exp(), expected, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(affine.log_scale[0, 0, 2], torch.tensor(0.0).double(), atol=1e-15, rtol=0)
    assert torch.equal(affine.shift, OUTPUTS[..., 4:])


@pytest.mark.parametrize("scale", ["exp", "softplus"])
def test_the_soft_clip_holds_both_halves(scale):
    clipped = from_outputs(OUTPUTS, scale=scale, clip=2.0)
    expected = from_outputs(2.0 * torch.tanh(OUTPUTS / 2.0), scale=scale, clip=None)
    torch.testing.assert_close(clipped, expected)
    assert clipped.shift.abs().max() < 2.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", ["exp", "softplus"])
def test_huge_outputs_are_held_and_have_finite_gradients(scale, dtype):
    outputs = torch.tensor([-1e4, -200.0, -16.0, 1e4, 1.0, 1.0, 1.0, 1.0], dtype=dtype)[
        None, None
    ].requires_grad_()
    affine = from_outputs(outputs, scale=scale, clip=None)
    assert affine.log_scale.abs().max() <= LARGEST
    assert (affine.log_scale[0, 0, :3] == -LARGEST).all()
    (affine.forward(torch.ones(1, 1, 4, dtype=dtype)).sum() + affine.log_det().sum()).backward()
    assert outputs.grad is not None
    assert outputs.grad.isfinite().all()
