"""Images -> feature vectors that can be computed anywhere: average-pooled pixels.

The published measures describe images by a large trained network. For small images and quick runs the pixels
themselves will do, once neighbouring ones are averaged: it halves the resolution, forgives a shift by one
pixel and leaves a few hundred numbers. The classifier (:mod:`simflow.evaluate.classify`) and the diversity
(:mod:`simflow.evaluate.diversity`) see images like this; Fréchet distance, precision and the other measures
take features of any origin.
"""

from einops import rearrange
from torch.nn import functional as F

from simflow.pixels import Bytes, to_float
from simflow.shapes import Features


def pooled_pixels(images: Bytes, *, pool: int = 2) -> Features:
    """Means over squares of ``pool`` x ``pool`` pixels, in [-1, 1], float32.

    Args:
        images: ``(b, channels, height, width)``.
        pool: side of a square, in pixels.

    Returns:
        ``(b, channels * height/pool * width/pool)``, channel-major.

    Raises:
        ValueError: the squares do not fill the image.
    """
    height, width = images.shape[-2:]
    if pool < 1 or height % pool or width % pool:
        raise ValueError(f"squares of {pool} x {pool} pixels do not fill images of {height} x {width}")
    return rearrange(F.avg_pool2d(to_float(images), pool), "b c h w -> b (c h w)")


def pool_for(image_size: int) -> int:
    """The pooling for square images of a side: the largest power of two that leaves 16 squares a side, at
    least 2, and 1 for an odd side. 32 px are pooled by 2, 64 by 4 and 256 by 16.

    >>> [pool_for(size) for size in (16, 28, 32, 48, 64, 256, 33)]
    [2, 2, 2, 2, 4, 16, 1]
    """
    pool = 1
    while image_size % (2 * pool) == 0 and (pool == 1 or image_size // (2 * pool) >= 16):
        pool *= 2
    return pool
