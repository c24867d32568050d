"""The orders in which blocks walk the tokens: pure functions without state.

Blocks alternate between raster order and its reversal, so what one block could not see, the next one can.
An order is its own inverse.
"""

from typing import Literal

from torch import Tensor

Order = Literal["raster", "reversed"]


def alternating(blocks: int) -> tuple[Order, ...]:
    """Raster, reversed, raster, …: the first block data -> noise walks in raster order.

    >>> alternating(3)
    ('raster', 'reversed', 'raster')
    """
    return tuple("raster" if index % 2 == 0 else "reversed" for index in range(blocks))


def reorder(tokens: Tensor, order: Order) -> Tensor:
    """Tokens ``(..., n, d)`` from raster order to the block's order, or back."""
    return tokens if order == "raster" else tokens.flip(-2)
