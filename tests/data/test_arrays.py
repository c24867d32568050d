"""Pixels of a program become a set of images as those of a file do."""

import numpy as np
import pytest
import torch

from simflow.data import DataConfig, from_arrays, load
from simflow.shapes import NULL


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)


@pytest.mark.parametrize("as_given", [lambda x: x, torch.from_numpy, lambda x: np.moveaxis(x, 3, 1)])
def test_arrays_are_the_set_as_it_is(pixels, as_given):
    images = from_arrays(as_given(pixels), torch.tensor([0, 1, 2, 0, 1]), ("bag", "boot", "coat"))
    assert (len(images), images.channels, images.image_size) == (5, 3, 8)
    assert images.class_names == ("bag", "boot", "coat")
    assert images.labels.tolist() == [0, 1, 2, 0, 1]
    assert (images.images(range(5)).numpy() == np.moveaxis(pixels, 3, 1)).all()


def test_arrays_without_classes_or_names(pixels):
    gray = from_arrays(pixels[..., 0])
    assert (gray.channels, gray.class_names, set(gray.labels.tolist())) == (1, (), {NULL})
    assert from_arrays(pixels, [1, 0, 1, 0, 1]).class_names == ("0", "1")


def test_arrays_are_made_ready_as_those_of_a_file(pixels, tmp_path):
    tall = np.concatenate([pixels, pixels], axis=1)
    np.savez(tmp_path / "set.npz", images=tall, labels=np.arange(5))
    config = DataConfig(path=str(tmp_path / "set.npz"), image_size=4, channels=1)
    here, there = from_arrays(tall, np.arange(5), config=config), load(config)
    assert torch.equal(here.images(range(5)), there.images(range(5)))
    assert torch.equal(here.labels, there.labels)
    with pytest.raises(ValueError, match="8 x 16 pixels, not square: say with a config"):
        from_arrays(tall)


@pytest.mark.parametrize("split", ["train", "test"])
def test_what_is_held_out_of_a_file_is_held_out_of_its_arrays(tmp_path, split):
    """So that a program that trains on them is evaluated on what it has not seen."""
    pixels = np.arange(40, dtype=np.uint8)[:, None, None].repeat(4, 1).repeat(4, 2)
    np.savez(tmp_path / "set.npz", images=pixels)
    config = DataConfig(path=str(tmp_path / "set.npz"), image_size=4, channels=1, hold_out=0.3, split=split)
    here, there = from_arrays(pixels, config=config), load(config)
    assert 0 < len(there) < 40
    assert torch.equal(here.images(range(len(here))), there.images(range(len(there))))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"images": np.zeros((2, 8, 8))}, "the images of the arrays must be uint8, not float64"),
        ({"images": np.zeros((2, 8), np.uint8)}, r"with 1 or 3 channels, not \(2, 8\)"),
        ({"images": np.zeros((0, 8, 8), np.uint8)}, "there is no image in the arrays"),
        ({"labels": [0, 1]}, "one integer an image, for 5 images, not int64"),
        ({"labels": [0.0] * 5}, "one integer an image, for 5 images, not float64"),
        ({"labels": [0, 1, 2, 3, 4], "class_names": ["a"]}, "names for only 1 classes"),
    ],
)
def test_mistakes_are_one_sentence(pixels, change, sentence):
    with pytest.raises(ValueError, match=sentence):
        from_arrays(**{"images": pixels} | change)
