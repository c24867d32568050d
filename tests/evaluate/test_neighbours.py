"""Nearest training images: found exactly, in order, and copies are seen."""

from contextlib import nullcontext

import pytest
import torch

from simflow.evaluate import neighbours, remembering
from simflow.evaluate.collect import Held
from simflow.evaluate.desk import Desk
from simflow.evaluate.neighbours import memorisation, nearest
from simflow.evaluate.remembering import Nearest


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
    assert clean.samples_median == pytest.approx(clean.yardstick_median, rel=0.1)


def test_a_copy_of_what_real_images_hold_twice_is_still_a_copy():
    """Twins among training and held-out images make the threshold zero; features of images are far from zero."""
    training = 100 + torch.rand(300, 40)
    held_out = torch.cat([training[:30], 100 + torch.rand(70, 40)])
    yardstick = nearest(held_out, training, k=1).distances[:, 0]
    copied = memorisation(nearest(training[50:150], training, k=1).distances[:, 0], yardstick)
    assert (copied.threshold, copied.copying_share) == (0, 1)


def test_an_image_left_out_is_not_its_own_neighbour(monkeypatch):
    monkeypatch.setattr(neighbours, "ROWS", 4)
    training = torch.randn(30, 4)
    itself = torch.arange(30)
    itself[3] = -1
    found = nearest(training, training, k=2, leave_out=itself)
    expected = torch.cdist(training.double(), training.double()) / 2
    expected.fill_diagonal_(torch.inf)[3, 3] = 0
    assert torch.equal(found.indices, expected.argsort(dim=1)[:, :2])
    with pytest.raises(ValueError, match="29 training images have no 30 nearest"):
        nearest(training, training, k=30, leave_out=itself)


def test_mirror_images_count_where_they_were_trained_on():
    images = torch.randint(0, 256, (50, 1, 8, 8), dtype=torch.uint8)
    training, mirrored = neighbours.pixels(images), neighbours.pixels(images.flip(-1))
    found = nearest(mirrored, training, k=3, mirrored=mirrored)
    assert torch.equal(found.indices[:, 0], torch.arange(50))
    assert found.distances[:, 0].eq(0).all()
    assert found.distances[:, 1].gt(0).all()
    assert nearest(mirrored, training, k=1).distances.gt(0).all()


DESK = Desk(device=torch.device("cpu"), counting=lambda what, of: nullcontext(lambda more: None))


def some_images():
    images = torch.randint(0, 256, (40, 1, 8, 8), dtype=torch.uint8)
    return Held(pixels=images, labels=torch.zeros(40, dtype=torch.int64))


def test_the_record_shows_the_nearest_first_and_by_their_own_numbers():
    """Of forty training images every other one or so is looked at; the samples are those forty."""
    train = some_images()
    record, _ = remembering.memorisation(train, train, None, Nearest(samples=40, training=20, shown=25), DESK)
    least = [each["distances"][0] for each in record["nearest"]]
    assert least == sorted(least)
    copies = [each for each in record["nearest"] if each["distances"][0] == 0]
    assert len(copies) == 20
    assert all(each["training"][0] == each["sample"] for each in copies)


def test_the_record_without_held_out_images_goes_by_other_training_images():
    train = some_images()
    copies = Held(pixels=train.pixels[:20].flip(-1), labels=train.labels[:20])
    config = Nearest(samples=20, training=40, shown=4)
    record, _ = remembering.memorisation(copies, train, None, config, DESK, mirrored=True)
    assert (record["copying_share"], record["least"], record["yardstick"]) == (1, 0, "other training images")
    assert record["threshold"] > 0
    assert record["nearest"][0]["training"][0] == record["nearest"][0]["sample"]
    record, picture = remembering.memorisation(copies, train, some_images(), config, DESK)
    assert (record["copying_share"], record["yardstick"]) == (pytest.approx(0, abs=0.1), "held-out images")
    assert picture.height > 0
