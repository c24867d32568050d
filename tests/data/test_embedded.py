"""The images inside the package: which they are, bit for bit, and that the held-out ones are held out."""

import hashlib

import pytest
import torch

from simflow.data import DataConfig, load

CLASSES = (
    "t-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle-boot",
)


def embedded(name, **choices):
    return load(DataConfig(path=f"embedded:{name}", image_size=28, channels=1, fit="pad", **choices))


@pytest.fixture(scope="module")
def train():
    return embedded("fashion-mnist")


@pytest.fixture(scope="module")
def held_out():
    return embedded("fashion-mnist-heldout")


def pixels(images):
    return images.images(range(len(images)))


def sha256(tensor):
    return hashlib.sha256(tensor.numpy().tobytes()).hexdigest()


def test_the_training_images_are_these(train):
    assert sha256(pixels(train)) == "ddd532ed572dbe49b72b5f104b551d4e081a195ad73a00d4d40ec22e3eb3fae2"
    assert pixels(train).shape == (6000, 1, 28, 28)


def test_the_held_out_images_are_these(held_out):
    assert sha256(pixels(held_out)) == "87a8c47fe141ad7de61e1517e5478a1e5dfefafa9a8b3a34b8f39e1d92c4ad0d"
    assert pixels(held_out).shape == (1000, 1, 28, 28)


def test_classes_are_balanced_and_named(train, held_out):
    assert torch.bincount(train.labels).tolist() == [600] * 10
    assert torch.bincount(held_out.labels).tolist() == [100] * 10
    assert train.class_names == held_out.class_names == CLASSES


def test_the_labels_belong_to_the_images(train, held_out):
    """The nearest class mean names two thirds of Fashion-MNIST right; shuffled labels would give a tenth."""
    means = torch.stack([pixels(train)[train.labels == label].float().mean(0) for label in range(10)])
    distances = torch.cdist(pixels(held_out).flatten(1).float(), means.flatten(1))
    assert (distances.argmin(1) == held_out.labels).float().mean() > 0.6


def test_no_held_out_image_is_a_training_image(train, held_out):
    seen = {image.numpy().tobytes() for image in pixels(train)}
    assert not any(image.numpy().tobytes() in seen for image in pixels(held_out))


def test_the_held_out_set_is_the_test_split(held_out):
    assert torch.equal(pixels(embedded("fashion-mnist", split="test")), pixels(held_out))


def test_another_name_is_refused():
    with pytest.raises(ValueError, match=r"embedded:mnist.*embedded:fashion-mnist"):
        embedded("mnist")
