"""Where randomness comes from: a generator that is made, passed and thrown away, never a global state.

Training noise is a function of ``(seed, rank, step)``, so a resumed run draws what the uninterrupted one
would have drawn. Sampling noise is a function of the image's own seed, so image *i* is the same whatever the
batch size or the number of processes.
"""

import hashlib
from collections.abc import Sequence

import torch
from torch import Generator, Tensor


def fold(*parts: int | str) -> int:
    """Folds numbers and words into one 63-bit seed; any change of a part changes the whole.

    >>> fold(0, "order", 3) == fold(0, "order", 3), fold(0, "order", 3) == fold(0, "order", 4)
    (True, False)
    """
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(*parts: int | str, device: torch.device | str = "cpu") -> Generator:
    """A new generator seeded with :func:`fold` of ``parts``."""
    return Generator(device=device).manual_seed(fold(*parts))


def noise_for_seeds(seeds: Sequence[int], shape: tuple[int, ...]) -> Tensor:
    """Standard normal noise ``(len(seeds), *shape)`` in float32, one CPU generator per image.

    >>> a, b = noise_for_seeds([3, 7], (2,)), noise_for_seeds([7], (2,))
    >>> bool((a[1] == b[0]).all())
    True
    """
    return torch.stack([torch.randn(shape, generator=generator("sample", seed)) for seed in seeds])
