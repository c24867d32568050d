"""Where decoded images are kept: all in memory, or nowhere.

Both stores answer one question, *the pixels of these rows of the source*, so that
:class:`~simflow.data.images.ImageSet` does not know which it has.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor

from simflow.data.config import DataConfig
from simflow.data.decode import Unreadable, decode
from simflow.data.source import Source
from simflow.pixels import Bytes

Rows = Int[Tensor, " b"]

Progress = Callable[[int, int], None]
"""Called with the number of images decoded so far and the number of all."""

CHUNK = 64
"""Images a thread decodes between two reports of progress."""


class Store(ABC):
    """Decoded images by their row in a source."""

    @abstractmethod
    def images(self, rows: Rows) -> Bytes:
        """Images of these rows, uint8."""

    @abstractmethod
    def unreadable(self) -> list[int]:
        """Rows found unreadable so far, ascending."""


class Packed(Store):
    """All images in one uint8 array, decoded when it is made; unreadable rows are black.

    Raises:
        ValueError: an image is unreadable and ``config.corrupt`` is ``stop``.
    """

    def __init__(self, source: Source, config: DataConfig, *, on_progress: Progress | None) -> None:
        total, size = len(source.names), config.image_size
        pixels = np.zeros((total, config.channels, size, size), dtype=np.uint8)
        self._pixels = pixels
        self._unreadable: list[int] = []

        def fill(rows: range) -> list[int]:
            bad: list[int] = []
            for row in rows:
                decoded = _decode(source, row, config)
                if decoded is None:
                    bad.append(row)
                else:
                    pixels[row] = decoded
            return bad

        chunks = [range(start, min(start + CHUNK, total)) for start in range(0, total, CHUNK)]
        with ThreadPoolExecutor(config.workers) as pool:
            for chunk, bad in zip(chunks, pool.map(fill, chunks), strict=True):
                self._unreadable += bad
                if on_progress is not None:
                    on_progress(chunk.stop, total)

    def images(self, rows: Rows) -> Bytes:
        return torch.from_numpy(self._pixels[rows.numpy()])

    def unreadable(self) -> list[int]:
        return self._unreadable


class OnDemand(Store):
    """Decodes what is asked for, each time it is asked for.

    To read a very large set once through, only to look for damage, would take long. So an unreadable image
    is found when it is first wanted; then and ever after the next readable image of its class stands in for
    it, which keeps labels true and every other image in its place.
    """

    def __init__(self, source: Source, config: DataConfig) -> None:
        self._source = source
        self._config = config
        self._pool = ThreadPoolExecutor(config.workers)
        self._unreadable: set[int] = set()

    def images(self, rows: Rows) -> Bytes:
        """Images of these rows, uint8.

        Raises:
            ValueError: an image is unreadable and ``config.corrupt`` is ``stop``, or none of its class
                is readable.
        """
        size = self._config.image_size
        none = np.zeros((0, self._config.channels, size, size), dtype=np.uint8)
        found = [image[None] for image in self._pool.map(self._image, rows.tolist())]
        return torch.from_numpy(np.concatenate([none, *found]))

    def unreadable(self) -> list[int]:
        return sorted(self._unreadable)

    def _image(self, row: int) -> NDArray[np.uint8]:
        for candidate in self._stand_ins(row):
            decoded = (
                None if candidate in self._unreadable else _decode(self._source, candidate, self._config)
            )
            if decoded is not None:
                return decoded
            self._unreadable.add(candidate)
        raise ValueError(f"{self._source.names[row]} cannot be read, nor can any other image of its class")

    def _stand_ins(self, row: int) -> Iterator[int]:
        """``row``, then the rows of its class after it, then those before it."""
        yield row
        peers = np.flatnonzero(self._source.labels == self._source.labels[row])
        yield from (int(peer) for peer in peers[peers > row])
        yield from (int(peer) for peer in peers[peers < row])


def _decode(source: Source, row: int, config: DataConfig) -> NDArray[np.uint8] | None:
    """The image of ``row``, or None if it is unreadable and may be skipped."""
    try:
        return decode(source, row, config)
    except Unreadable as error:
        if config.corrupt == "stop":
            raise ValueError(str(error)) from error
        return None
