"""A part of a set of images that stands for the whole."""

from jaxtyping import Int
from torch import Tensor

from simflow.data.images import ImageSet
from simflow.evaluate.collect import spread as evenly
from simflow.pixels import Bytes


def spread(images: ImageSet, limit: int) -> tuple[Bytes, Int[Tensor, " b"]]:
    """Up to ``limit`` images and their labels, evenly spread, so that a set sorted by class keeps its balance."""
    chosen = evenly(len(images), limit)
    return images.images(chosen), images.labels[chosen]
