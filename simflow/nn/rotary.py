"""Rotary positions on a grid: queries and keys turn, so that attention sees distances (Su et al. 2021; STARFlow).

The numbers of a head are read as pairs. Pair ``k`` of a token at row ``r`` and column ``c`` turns by the angle
``r f_k`` in the first half of the turning pairs and ``c f_k`` in the second, with ``f_k = base^(-k / K)`` for ``K``
pairs an axis. A product of a query and a key then depends on the difference of their positions only. Nothing is
learned, nothing is stored: :meth:`Rotary.rotation` makes the table whenever a batch begins.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from simflow.bounds import at_least, positive


class Rotation(NamedTuple):
    """Cosines and sines of the angles of every token and pair, each ``(n, pairs)``."""

    cos: Float[Tensor, "n pairs"]
    sin: Float[Tensor, "n pairs"]

    def window(self, start: int, length: int) -> "Rotation":
        """The tokens ``start .. start + length - 1``."""
        return Rotation(self.cos[start : start + length], self.sin[start : start + length])


@dataclass(frozen=True, kw_only=True)
class Rotary:
    """Two-dimensional rotary positions. A walk from the last token counts rows and columns from there."""

    base: float = 10_000.0
    """Ratio of the fastest to the slowest frequency, nearly."""
    still: int = 0
    """Numbers at the end of a head that do not turn. STARFlow's conditional models keep 16 for the position in a
    text, where a class is a text of one word at position 0."""

    def __post_init__(self) -> None:
        positive(self, "model.prior.block.positions", "base")
        at_least(0, self, "model.prior.block.positions", "still")

    def pairs(self, head_size: int) -> int:
        """Pairs of turning numbers that each axis has in a head.

        Raises:
            ValueError: the turning numbers of a head cannot be shared by two axes in pairs.
        """
        turning = head_size - self.still
        if turning <= 0 or turning % 4:
            raise ValueError(
                f"rotary positions need a multiple of 4 turning numbers in a head; {head_size} with {self.still} "
                f"still ones leave {turning}"
            )
        return turning // 4

    def rotation(
        self, *, grid: tuple[int, int], head_size: int, prefix: int, dtype: torch.dtype, device: torch.device
    ) -> Rotation:
        """Angles for ``prefix`` tokens that do not turn, then the tokens of the grid, row by row.

        Raises:
            ValueError: as :meth:`pairs`.
        """
        h, w = grid
        pairs = self.pairs(head_size)
        frequencies = self.base ** (-torch.arange(pairs, dtype=dtype, device=device) / pairs)
        rows = torch.arange(h, dtype=dtype, device=device).repeat_interleave(w)
        columns = torch.arange(w, dtype=dtype, device=device).repeat(h)
        angles = torch.cat([rows[:, None] * frequencies, columns[:, None] * frequencies], dim=1)
        angles = torch.nn.functional.pad(angles, (0, self.still // 2, prefix, 0))
        return Rotation(angles.cos(), angles.sin())


def rotate(x: Float[Tensor, "b heads n e"], rotation: Rotation) -> Float[Tensor, "b heads n e"]:
    """Queries or keys with every pair ``(u, v)`` turned; computed in the table's dtype, returned in that of ``x``."""
    u, v = x.unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = rotation
    return torch.stack([u * cos - v * sin, v * cos + u * sin], dim=-1).flatten(-2).to(x.dtype)
