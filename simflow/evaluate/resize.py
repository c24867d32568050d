"""Images to the size that a network expects: the step where published figures part ways.

Every extractor says which of these it uses, and the result carries the name, because the same images under another
resize have another Fréchet distance (Parmar, Zhang and Zhu 2022). Both take pixel values in 0..255 as float32 and
give float32; nothing is rounded in between.

- :func:`tensorflow1`: bilinear as TensorFlow 1 did it, which the FID was defined with: output ``i`` is read at
  ``i * old / new`` (corners aligned at the top left, not pixel centres), from two neighbours only. It has no
  antialiasing: when reducing, pixels are skipped.
- :func:`antialiased`: bicubic at pixel centres, with a support that grows as images shrink.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from simflow.pixels import Bytes
from simflow.shapes import Images

TENSORFLOW1 = "bilinear as in TensorFlow 1, without antialiasing, unrounded"
ANTIALIASED = "bicubic, antialiased, unrounded"

Resized = Float[Tensor, "b channels size size"]
"""Images of another size."""


def colour(images: Bytes) -> Float[Tensor, "b colours height width"]:
    """Bytes ``(b, 1 or 3, h, w)`` -> float32 ``(b, 3, h, w)`` in 0..255; gray becomes three equal channels.

    Raises:
        ValueError: these are not bytes, or there are other than 1 or 3 channels.
    """
    if images.dtype != torch.uint8:
        raise ValueError(
            f"images to be judged must be uint8, not {images.dtype}; see simflow.pixels.to_uint8"
        )
    if images.shape[1] not in (1, 3):
        raise ValueError(f"images to be judged have 1 or 3 channels, not {images.shape[1]}")
    return images.expand(-1, 3, -1, -1).to(torch.float32)


def tensorflow1(images: Images, size: int) -> Resized:
    """``(b, c, h, w)`` -> ``(b, c, size, size)``, as TensorFlow 1's ``resize_bilinear``."""
    return _along(_along(images, 3, size), 2, size)


def antialiased(images: Images, size: int) -> Resized:
    """``(b, c, h, w)`` -> ``(b, c, size, size)``, bicubic; values may leave 0..255 a little, and are held in it."""
    if images.shape[2:] == (size, size):
        return images
    resized = F.interpolate(images, (size, size), mode="bicubic", align_corners=False, antialias=True)
    return resized.clamp(0, 255)


def _along(x: Tensor, axis: int, size: int) -> Tensor:
    old = x.shape[axis]
    if old == size:
        return x
    place = torch.arange(size, device=x.device, dtype=torch.float32) * (old / size)
    low = place.floor().long().clamp(max=old - 1)
    high = (low + 1).clamp(max=old - 1)
    share = (place - low).reshape([-1 if dimension == axis else 1 for dimension in range(x.ndim)])
    below, above = x.index_select(axis, low), x.index_select(axis, high)
    return below + (above - below) * share
