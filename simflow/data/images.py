"""A set of images of one size, with their classes: what training and evaluation are given.

images = load(DataConfig(path="photos", image_size=64))
images.images([0, 1])  ->  uint8 (2, 3, 64, 64)
images.labels[[0, 1]]  ->  int64 (2,)
"""

import hashlib
import logging
from collections.abc import Sequence, Set
from copy import copy

import numpy as np
import torch
from jaxtyping import Bool, Int
from numpy.typing import ArrayLike
from torch import Tensor

from simflow.data.arrays import source_of
from simflow.data.config import DataConfig
from simflow.data.decode import Unreadable, decode
from simflow.data.order import Alike, spread
from simflow.data.part import find_part, kin, side_of
from simflow.data.source import Source
from simflow.data.store import OnDemand, Packed, Progress, Store
from simflow.distributed import is_main
from simflow.pixels import Bytes

logger = logging.getLogger(__name__)

GIB = 2**30


class ImageSet:
    """``len()`` images of ``(channels, image_size, image_size)``; made by :func:`load` or :func:`from_arrays`."""

    def __init__(self, source: Source, store: Store, config: DataConfig) -> None:
        self._names = source.names
        self._store = store
        unreadable = set(store.unreadable())
        readable = [row for row in range(len(source.names)) if row not in unreadable]
        self._rows = torch.tensor(readable, dtype=torch.int64)
        self.labels: Int[Tensor, " n"] = torch.from_numpy(source.labels)[self._rows]
        """The class of each image, int64; ``NULL`` throughout if the set has no classes."""
        self.groups: Int[Tensor, " n"] | None = (
            None if config.alike is None else _groups([source.keys[row] for row in readable], config.alike)
        )
        """The group of near-duplicates of each image, ``0 .. groups - 1``; None if each stands for itself."""
        self.numbers: Int[Tensor, " n"] = torch.arange(len(readable))
        """The number of each image in the whole set, where this is a part of it (:meth:`once`)."""
        self.class_names = source.class_names
        """One name a class; empty if the set has no classes."""
        self.channels = config.channels
        self.image_size = config.image_size
        self.fingerprint = _fingerprint(source, config)
        """16 hexadecimal digits that tell image sets apart: names, classes, and file sizes or checksums of
        the listed images, and how they are fitted; not where they lie, nor which of them are unreadable."""

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def skipped(self) -> tuple[str, ...]:
        """Names of images left out as unreadable. A set too large for memory learns of them as it is read,
        and replaces each by another of its class."""
        return tuple(self._names[row] for row in self._store.unreadable())

    def images(self, indices: Int[Tensor, " b"] | Sequence[int]) -> Bytes:
        """Images of these indices (``0 .. len - 1``), uint8 ``(b, channels, image_size, image_size)``."""
        return self._store.images(self._rows[torch.as_tensor(indices, dtype=torch.int64)])

    def shown(self, indices: Int[Tensor, " b"], mirrored: Bool[Tensor, " b"] | None) -> Bytes:
        """:meth:`images`, some of them mirrored left to right: what training is shown."""
        images = self.images(indices)
        if mirrored is not None:
            pixels, mine = images.numpy(), mirrored.numpy()
            pixels[mine] = pixels[mine][..., ::-1]
        return images

    def once(self) -> "ImageSet":
        """The same set with one of each group of near-duplicates, as an epoch of training shows it; itself without
        groups."""
        if self.groups is None:
            return self
        kept = Alike(self.groups).one_of_each(seed=0, epoch=0).sort().values
        fewer = copy(self)
        fewer._rows, fewer.labels, fewer.groups = self._rows[kept], self.labels[kept], None
        fewer.numbers = self.numbers[kept]
        return fewer

    def some(self, limit: int | None) -> tuple[Bytes, Int[Tensor, " b"]]:
        """Up to ``limit`` images and their labels, evenly spread; all if None."""
        chosen = spread(len(self), limit)
        return self.images(chosen), self.labels[chosen]


def load(config: DataConfig, *, on_progress: Progress | None = None) -> ImageSet:
    """Lists the images of ``config.path`` and, if they fit in ``config.cache_gib``, decodes them all.

    Raises:
        ValueError: there is no such set, split or readable image, an image is unreadable and
            ``config.corrupt`` is ``stop``, or one is larger than the canvas of ``pad``.
    """
    return _set_of(find_part(config), config, on_progress=on_progress)


def from_arrays(
    images: ArrayLike,
    labels: ArrayLike | None = None,
    class_names: Sequence[str] = (),
    *,
    config: DataConfig | None = None,
) -> ImageSet:
    """A set of pixels that a program holds, such as :func:`simflow.fitting.fit` trains on.

    Args:
        images: uint8 ``(n, h, w)``, ``(n, h, w, c)`` or ``(n, c, h, w)`` with 1 or 3 channels, NumPy's or torch's.
        labels: the number of each one's class, from 0 on; None if there are no classes.
        class_names: one for each class; "0", "1", ... if there are none.
        config: how they are made ready, as those of a folder are, and by ``hold_out`` and ``split`` which of them are
            meant, as of a file of them; where they lie does not count. As they are if None.

    Raises:
        ValueError: there are no images, they are not such pixels or, without a config, not square, or labels, names and
            images do not match, or one side of ``hold_out`` has no image.
    """
    given = None if labels is None else np.asarray(labels)
    pixels, names = np.asarray(images), list(class_names) or None
    source = source_of(pixels, given, names, name="images", where="the arrays")
    if config is None:
        height, width, *channels = np.shape(source.read(0))
        if height != width:
            raise ValueError(
                f"the images of the arrays are {width} x {height} pixels, not square: say with a config what becomes "
                "of them, such as config.data of a run"
            )
        config = DataConfig(path="arrays", image_size=height, channels=channels[0] if channels else 1)
    if config.hold_out:
        source = side_of(source, config, where="the arrays")
    return _set_of(source, config)


def tell_skipped(images: ImageSet, told: Set[str] = frozenset()) -> Set[str]:
    """Warns of the images that were left out as unreadable, but for those that were ``told`` of before; gives the names
    of all of them."""
    new = [name for name in images.skipped if name not in told]
    if new and is_main():
        named = ", ".join(new[:10]) + (f" and {len(new) - 10} more" if len(new) > 10 else "")
        count = (
            "1 image cannot be read and is" if len(new) == 1 else f"{len(new)} images cannot be read and are"
        )
        logger.warning("%s left out: %s", count, named)
    return told | set(new)


def _set_of(source: Source, config: DataConfig, *, on_progress: Progress | None = None) -> ImageSet:
    source.prepare()
    needed = len(source.names) * config.channels * config.image_size**2
    if needed <= config.cache_gib * GIB:
        images = ImageSet(source, Packed(source, config, on_progress=on_progress), config)
    else:
        images = ImageSet(source, OnDemand(source, config), config)
    if len(images) == 0:
        try:
            decode(source, 0, config)
        except Unreadable as error:
            raise ValueError(
                f"none of the {len(source.names)} images in {config.path} can be read; for one, {error}"
            ) from error
    return images


def _groups(keys: Sequence[str], pattern: str) -> Int[Tensor, " n"]:
    """Numbers that agree where the pattern finds the same in two keys; a key without a match is alone.

    >>> _groups(["a_v1", "b_v1", "a_v2", "other"], "(.*)_v")
    tensor([0, 1, 0, 2])
    """
    numbers: dict[object, int] = {}
    return torch.tensor(
        [numbers.setdefault(kin(key, pattern), len(numbers)) for key in keys], dtype=torch.int64
    )


def _fingerprint(source: Source, config: DataConfig) -> str:
    digest = hashlib.blake2b(digest_size=8)
    digest.update(repr((config.image_size, config.channels, config.fit, config.background)).encode())
    digest.update(repr(source.class_names).encode())
    for name, label, mark in zip(source.names, source.labels.tolist(), source.marks, strict=True):
        digest.update(repr((name, label, mark)).encode())
    return digest.hexdigest()
