"""Where randomness comes from: a generator that is made, passed and thrown away, never a global state.

Training noise is a function of ``(seed, rank, step)``, so a resumed run draws what the uninterrupted one
would have drawn. Sampling noise is a function of the image's own seed, so image *i* is the same whatever the
batch size or the number of processes.
"""

import hashlib
import operator
from collections.abc import Sequence
from typing import SupportsIndex

import torch
from torch import Generator, Tensor


def fold(*parts: SupportsIndex | str) -> int:
    """Folds whole numbers and words into one 63-bit seed; any change of a part changes the whole.

    A number counts by its value, whether it is Python's, NumPy's or torch's.

    >>> fold(0, "order", 3) == fold(0, "order", 3), fold(0, "order", 3) == fold(0, "order", 4)
    (True, False)

    Raises:
        TypeError: a part is neither a whole number nor a word.
    """
    plain = tuple(part if isinstance(part, str) else operator.index(part) for part in parts)
    digest = hashlib.blake2b(repr(plain).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(*parts: SupportsIndex | str, device: torch.device | str = "cpu") -> Generator:
    """A new generator seeded with :func:`fold` of ``parts``."""
    return Generator(device=device).manual_seed(fold(*parts))


def noise_for_seeds(seeds: Sequence[int], shape: tuple[int, ...]) -> Tensor:
    """Standard normal noise ``(len(seeds), *shape)`` in float32, one CPU generator per image.

    >>> a, b = noise_for_seeds([3, 7], (2,)), noise_for_seeds([7], (2,))
    >>> bool((a[1] == b[0]).all())
    True
    """
    return torch.stack([torch.randn(shape, generator=generator("sample", seed)) for seed in seeds])
