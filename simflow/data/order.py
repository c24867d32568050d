"""In which order images are seen: an endless stream, of which a step takes the next ``batch``.

The stream is one permutation of the set after another; that of epoch ``e`` is drawn from ``(seed, "order",
e)``. Position ``p`` of the stream holds image ``permutation(p // n)[p % n]``, so what a step sees follows
from its number alone. A batch may straddle two epochs, or span several if the set is small, and nothing is
dropped at an epoch's end.
"""

from functools import lru_cache

import torch
from jaxtyping import Int
from torch import Tensor

from simflow.seeding import generator


class Stream:
    """The endless order of ``size`` images.

    >>> stream = Stream(size=3, seed=0)
    >>> sorted(stream.at(0, 3).tolist()), sorted(stream.at(3, 3).tolist())
    ([0, 1, 2], [0, 1, 2])
    >>> stream.at(2, 3).tolist() == stream.at(0, 6).tolist()[2:5]
    True
    """

    def __init__(self, *, size: int, seed: int) -> None:
        def permutation(epoch: int) -> Tensor:
            return torch.randperm(size, generator=generator(seed, "order", epoch))

        self._size = size
        self._permutation = lru_cache(maxsize=2)(permutation)

    def at(self, start: int, count: int) -> Int[Tensor, " b"]:
        """The images at positions ``start .. start + count - 1``."""
        parts: list[Tensor] = []
        while count > 0:
            epoch, offset = divmod(start, self._size)
            part = self._permutation(epoch)[offset : offset + count]
            parts.append(part)
            start, count = start + len(part), count - len(part)
        return torch.cat(parts)
