"""Nearest training images: found exactly, in order, and copies are seen."""

import pytest
import torch

from simflow.evaluate import neighbours
from simflow.evaluate.neighbours import memorisation, nearest


def test_nearest_by_brute_force_in_any_blocks(monkeypatch):
    training, features = torch.randn(50, 4), torch.randn(7, 4)
    expected = torch.cdist(features.double(), training.double()) / 2
    for rows in (1024, 3):
        monkeypatch.setattr(neighbours, "ROWS", rows)
        found = nearest(features, training, k=3)
        assert torch.equal(found.indices, expected.argsort(dim=1)[:, :3])
        torch.testing.assert_close(found.distances, expected.sort(dim=1).values[:, :3])


def test_equal_distances_go_by_number():
    found = nearest(torch.zeros(1, 2), torch.ones(9, 2), k=3)
    assert found.indices.tolist() == [[0, 1, 2]]
    with pytest.raises(ValueError, match="9 training images have no 10 nearest"):
        nearest(torch.zeros(1, 2), torch.ones(9, 2), k=10)


def test_copies_are_seen_and_fresh_images_are_not():
    training, held_out = torch.randn(500, 20), torch.randn(400, 20)
    fresh = torch.randn(400, 20)
    copies = torch.cat([training[:100] + 0.01 * torch.randn(100, 20), fresh[:300]])
    yardstick = nearest(held_out, training, k=1).distances[:, 0]
    clean = memorisation(nearest(fresh, training, k=1).distances[:, 0], yardstick)
    copied = memorisation(nearest(copies, training, k=1).distances[:, 0], yardstick)
    assert clean.copying_share < 0.04
    assert copied.copying_share == pytest.approx(0.25, abs=0.03)
    assert copied.least < 0.05 < clean.least
    assert clean.samples_median == pytest.approx(clean.held_out_median, rel=0.1)
