"""The orders in which blocks walk the tokens: pure functions without state.

Blocks alternate between raster order and its reversal, so what one block could not see, the next one can.
An order is its own inverse.
"""

from typing import Literal

from torch import Tensor

Order = Literal["raster", "reversed"]


def alternating(blocks: int, first: Order = "raster") -> tuple[Order, ...]:
    """Raster, reversed, raster, …, beginning with the block next to the data.

    >>> alternating(3), alternating(2, "reversed")
    (('raster', 'reversed', 'raster'), ('reversed', 'raster'))
    """
    second: Order = "reversed" if first == "raster" else "raster"
    return tuple(first if index % 2 == 0 else second for index in range(blocks))


def reorder(tokens: Tensor, order: Order) -> Tensor:
    """Tokens ``(..., n, d)`` from raster order to the block's order, or back."""
    return tokens if order == "raster" else tokens.flip(-2)
