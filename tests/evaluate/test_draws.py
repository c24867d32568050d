"""A draw belongs to its image, in whatever batch it is, on whatever process."""

import pytest
import torch

from simflow import distributed
from simflow.evaluate.draws import drawn
from simflow.pixels import to_float
from simflow.posterior import FixedVariance
from tests.evaluate.test_scores import held, pixel_model


@pytest.fixture
def model():
    return pixel_model(FixedVariance(std=1.0))


def noise(model, numbers, *, seed=0, batch=3):
    """What the draws added to the images of these numbers."""
    pictures = held(10)
    parts = list(drawn(model, pictures, torch.tensor(numbers), seed=seed, batch=batch))
    assert torch.cat([part.places for part in parts]).tolist() == list(range(len(numbers)))
    images = torch.cat([part.images for part in parts])
    assert torch.equal(images, to_float(pictures.images(numbers)))
    assert all(torch.equal(part.code, part.images) for part in parts), "the identity"
    return torch.cat([part.latents for part in parts]) - images


def test_draws_belong_to_images(model):
    all_four, last = noise(model, [3, 5, 8, 9]), noise(model, [9])
    assert torch.equal(all_four[3:], last)
    assert (all_four[:1] - last).abs().max() > 0.1, "of each image its own"
    assert torch.equal(all_four, noise(model, [3, 5, 8, 9], batch=1))
    assert not torch.equal(last, noise(model, [9], seed=1))


def test_a_process_sees_to_its_share_of_them_or_to_none(model, monkeypatch):
    for share in ([1, 2], []):
        own = torch.tensor(share, dtype=torch.int64)
        monkeypatch.setattr(distributed, "share_of", lambda total, own=own: own)
        parts = list(drawn(model, held(10), torch.tensor([3, 5, 8]), seed=0, batch=5))
        assert [part.places.tolist() for part in parts] == [share] * bool(share)
