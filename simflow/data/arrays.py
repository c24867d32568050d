"""Pixels and class numbers held in memory become a source: those of a program, and of files that hold nothing else.

Images are uint8 ``(n, h, w)``, ``(n, h, w, c)`` or ``(n, c, h, w)`` with 1 or 3 channels; channels last is meant when a
shape can be read both ways. Labels are whole numbers from 0 on, or ``NULL``.
"""

import zlib
from collections.abc import Sequence

import numpy as np
from einops import rearrange
from numpy.typing import NDArray

from simflow.data.source import Source, name_classes
from simflow.shapes import NULL


def source_of(
    images: NDArray, labels: NDArray | None, names: Sequence[str] | None, *, name: str, where: str
) -> Source:
    """A source of pixels held in memory.

    Args:
        images: the pixels, of any of the shapes above.
        labels: one for each image, or None.
        names: of the classes, as for :func:`simflow.data.source.name_classes`.
        name: what the images are called, with their number, in messages.
        where: what all of them are called.

    Raises:
        ValueError: there are no images, they are not such pixels, or labels and images or names do not match.
    """
    if images.dtype != np.uint8:
        raise ValueError(f"the images of {where} must be uint8, not {images.dtype}")
    pixels, count = channels_last(images, where=where), len(images)
    numbers, class_names = classes_in(labels, count, names, where=where)
    return Source(
        names=[f"{name}[{index}]" for index in range(count)],
        keys=[str(index) for index in range(count)],
        labels=numbers,
        class_names=class_names,
        marks=[zlib.crc32(image.tobytes()) for image in pixels],
        read=lambda index: pixels[index],
    )


def channels_last(images: NDArray[np.uint8], *, where: str) -> NDArray[np.uint8]:
    """The same pixels as ``(n, h, w)`` or ``(n, h, w, c)``.

    Raises:
        ValueError: they have no such shape, or there are none.
    """
    match images.shape:
        case (0, *_):
            raise ValueError(f"there is no image in {where}")
        case (_, _, _) | (_, _, _, 1 | 3):
            return images
        case (_, 1 | 3, _, _):
            return rearrange(images, "n c h w -> n h w c")
    raise ValueError(
        f"the images of {where} must be (n, h, w), (n, h, w, c) or (n, c, h, w) with 1 or 3 channels, "
        f"not {images.shape}"
    )


def classes_in(
    labels: NDArray | None, count: int, names: Sequence[str] | None, *, where: str
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """The class of each of ``count`` images, ``NULL`` where it has none, and the names of all classes.

    Raises:
        ValueError: there is not one whole number an image, or as :func:`simflow.data.source.name_classes`.
    """
    if labels is None:
        return np.full(count, NULL, dtype=np.int64), ()
    if labels.dtype.kind not in "iu" or labels.size != count:
        raise ValueError(
            f"the labels of {where} must be one integer an image, for {count} images, not {labels.dtype} "
            f"{labels.shape}"
        )
    numbers = labels.reshape(-1).astype(np.int64)
    known = numbers[numbers != NULL]
    return numbers, name_classes(known, names, where=where) if len(known) else ()
