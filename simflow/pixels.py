"""The two ranges of an image and the one conversion between them.

Bytes
    uint8 in ``0 .. 255``: what files, caches and saved samples hold.
Signed
    floating point in [-1, 1]: what every network sees. Level ``k`` is ``k / 127.5 - 1``, so black is -1,
    white is 1 and neighbouring levels lie ``1 / 127.5`` apart.

Every metric is sensitive to how floats become bytes, so there is one function for it, :func:`to_uint8`, and
it undoes :func:`to_float` exactly on all 256 levels. This file knows nothing of files or of how pixels were
made.
"""

import torch
from jaxtyping import UInt8
from torch import Tensor

from simflow.shapes import Images

Bytes = UInt8[Tensor, "b channels height width"]
"""Images as they are stored: uint8 in ``0 .. 255``."""


def to_float(images: Bytes) -> Images:
    """Bytes to float32 in [-1, 1]: ``x / 127.5 - 1``."""
    return images.to(torch.float32).div_(127.5).sub_(1)


def to_uint8(images: Images) -> Bytes:
    """Signed images to bytes: clamp to [-1, 1], ``(x + 1) * 127.5``, round half to even.

    The arithmetic is done in float32, or in float64 if the images are float64. Values out of range, which
    samples always have, are clamped; NaN has no byte and must not come here.

    >>> to_uint8(torch.tensor([-2.0, -1.0, 0.0, 1.0]).reshape(1, 1, 2, 2)).flatten().tolist()
    [0, 0, 128, 255]
    """
    wide = images.to(torch.promote_types(images.dtype, torch.float32))
    return wide.clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8)


def require_signed(images: Images) -> Images:
    """Returns ``images`` if every value lies in [-1, 1]; NaN does not, and of no images every value does.

    It reads two numbers back from the device, so it belongs at the edges, not in a training step.

    Raises:
        ValueError: if a value lies outside, with the range that was found.
    """
    if not len(images):
        return images
    low, high = (bound.item() for bound in torch.aminmax(images))
    if not (low >= -1 and high <= 1):
        raise ValueError(
            f"Images must lie in [-1, 1], but these run from {low:g} to {high:g}; "
            "simflow.pixels.to_float converts 8-bit images."
        )
    return images
