"""Which images are seen, and in which order.

Training sees an endless stream, of which a step takes the next ``batch``.

The stream is one permutation of the set after another; that of epoch ``e`` is drawn from ``(seed, "order",
e)``. Position ``p`` of the stream holds image ``permutation(p // n)[p % n]``, so what a step sees follows
from its number alone. A batch may straddle two epochs, or span several if the set is small, and nothing is
dropped at an epoch's end. Where near-duplicates count as one, the permutation is of their groups, and each epoch
draws one image of each.

Whoever needs only some images takes evenly spread ones (:func:`spread`).
"""

from functools import lru_cache

import torch
from jaxtyping import Int
from torch import Tensor

from simflow.seeding import generator

GOLDEN = (5**0.5 - 1) / 2
"""The golden ratio's fraction, whose multiples fall most evenly into the unit interval."""


class Stream:
    """The endless order of ``size`` images, which may fall into groups of near-duplicates.

    >>> stream = Stream(size=3, seed=0)
    >>> sorted(stream.at(0, 3).tolist()), sorted(stream.at(3, 3).tolist())
    ([0, 1, 2], [0, 1, 2])
    >>> stream.at(2, 3).tolist() == stream.at(0, 6).tolist()[2:5]
    True
    >>> twins = Stream(size=3, seed=0, groups=torch.tensor([0, 1, 1]))
    >>> [sorted(twins.at(2 * epoch, 2).tolist()) for epoch in range(3)]
    [[0, 1], [0, 2], [0, 1]]
    """

    def __init__(self, *, size: int, seed: int, groups: Int[Tensor, " n"] | None = None) -> None:
        alike = Alike(torch.arange(size) if groups is None else groups)

        def permutation(epoch: int) -> Tensor:
            order = torch.randperm(len(alike), generator=generator(seed, "order", epoch))
            return alike.one_of_each(seed=seed, epoch=epoch)[order]

        self._size = len(alike)
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


class Alike:
    """Groups of near-duplicates, numbered ``0 .. len - 1``.

    >>> Alike(torch.tensor([0, 1, 1])).one_of_each(seed=0, epoch=1).tolist()
    [0, 2]
    """

    def __init__(self, groups: Int[Tensor, " n"]) -> None:
        self._counts, self._members = torch.bincount(groups), groups.argsort(stable=True)
        self._firsts = self._counts.cumsum(0) - self._counts

    def __len__(self) -> int:
        return len(self._counts)

    def one_of_each(self, *, seed: int, epoch: int) -> Int[Tensor, " k"]:
        """One image drawn of each group."""
        drawn = torch.rand(len(self), generator=generator(seed, "alike", epoch), dtype=torch.float64)
        return self._members[self._firsts + (drawn * self._counts).long()]


def spread(total: int, limit: int | None) -> Int[Tensor, " k"]:
    """Up to ``limit`` of the numbers ``0 .. total - 1``, evenly spread, ascending; all if None.

    One out of each of ``limit`` equal parts, at a place in it that moves by the golden ratio: images often come with
    their classes in turn, and a fixed stride would meet one class again and again.

    >>> spread(10, 4).tolist(), {number % 10 for number in spread(1000, 100).tolist()} == set(range(10))
    ([0, 3, 5, 9], True)
    """
    count = total if limit is None else min(total, limit)
    number = torch.arange(count)
    first, end = number * total // max(count, 1), (number + 1) * total // max(count, 1)
    place = (number.double() * GOLDEN) % 1
    return first + (place * (end - first)).long()
