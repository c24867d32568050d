"""The alignment loss: cosines by hand, grids, float32, and what of it learns."""

import pytest
import torch

from simflow.losses.alignment import AlignmentConfig, on_grid
from simflow.losses.vit import DinoV2
from tests.laws.cases import normal
from tests.losses.tiny_vit import tiny_file


def alignment(tmp_path, *, grid=(3, 3), **encoder):
    torch.manual_seed(0)
    config = AlignmentConfig(hidden=16, encoder=DinoV2(source=tiny_file(tmp_path), **encoder))
    return config.build(width=8, grid=grid)


IMAGES = normal(2, 3, 42, 42, dtype=torch.float32).clamp(-1, 1)


def test_cosines_by_hand(tmp_path):
    loss = alignment(tmp_path)
    hidden = normal(2, 9, 8, dtype=torch.float32)
    seen = loss.encoder.features(IMAGES, (3, 3)).flatten(2).transpose(1, 2)
    said = loss.projector(hidden)
    expected = [
        sum(1 - (a @ b / (a.norm() * b.norm())).item() for a, b in zip(s, t, strict=True)) / 9
        for s, t in zip(said, seen, strict=True)
    ]
    torch.testing.assert_close(loss(IMAGES, hidden), torch.tensor(expected), rtol=1e-4, atol=1e-5)


def test_features_are_antialiased_where_the_grid_is_coarser():
    """Bright columns at the ends of every four, which interpolation alone would pass over."""
    columns = torch.tensor([1.0, 0.0, 0.0, 1.0] * 2).expand(1, 1, 8, 8)
    assert on_grid(columns, (2, 2)).min() > 0.2


def test_three_layers_learn_and_the_encoder_does_not(tmp_path):
    loss = alignment(tmp_path)
    assert [p.shape for p in loss.projector.parameters() if p.ndim == 2] == [(16, 8), (16, 16), (64, 16)]
    hidden = normal(2, 9, 8, dtype=torch.float32).requires_grad_()
    loss(IMAGES, hidden).sum().backward()
    assert hidden.grad.abs().sum() > 0
    assert all(p.grad.abs().sum() > 0 for p in loss.projector.parameters())
    assert all(p.grad is None for p in loss.encoder.parameters())
    assert not any(m.training for m in loss.train().encoder.modules())


def test_features_come_to_the_tokens_in_raster_order():
    features = torch.arange(6.0).reshape(1, 1, 2, 3)
    assert on_grid(features, (2, 3)).flatten().tolist() == [0, 1, 2, 3, 4, 5]
    ramp = torch.arange(8.0).expand(1, 2, 8, 8)
    small = on_grid(ramp, (4, 4))
    assert small.shape == (1, 16, 2)
    torch.testing.assert_close(small[0, 4:8, 0], torch.tensor([0.6, 2.5, 4.5, 6.4]), atol=0.2, rtol=0)


@pytest.mark.parametrize("side", [28, 56])
def test_another_grid_than_the_tokens(tmp_path, side):
    loss = alignment(tmp_path, side=side)
    assert loss(IMAGES, normal(2, 9, 8, dtype=torch.float32)).shape == (2,)


def test_cosines_are_taken_in_float32(tmp_path):
    """Features whose squares overflow half precision still have a cosine."""
    loss = alignment(tmp_path)
    with torch.no_grad():
        loss.projector[-1].weight *= 1e4
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(IMAGES, normal(2, 9, 8, dtype=torch.float32))
    assert value.dtype == torch.float32
    assert value.isfinite().all()
