"""Undoing a block: noise to data. How is a choice; what comes out is not, up to rounding or a stated tolerance.

- :class:`Sequential`: token by token, exact (:mod:`simflow.flow.sequential`);
- :class:`~simflow.flow.jacobi.Jacobi`: parallel passes to a tolerance (:mod:`simflow.flow.jacobi`).

To write one: a frozen keyword-only config, a function from noise to tokens in the block's order, and a line below.
"""

from dataclasses import dataclass

import torch

from simflow.flow.block import Block
from simflow.flow.guidance import Guidance
from simflow.flow.jacobi import Jacobi, solve
from simflow.flow.order import reorder
from simflow.flow.sequential import walk
from simflow.shapes import Labels, Tokens


@dataclass(frozen=True, kw_only=True)
class Sequential:
    """Token by token, exactly: the least arithmetic."""


Decoding = Sequential | Jacobi
SEQUENTIAL = Sequential()


def undo(
    block: Block,
    z: Tokens,
    labels: Labels,
    guidance: Guidance | None,
    decoding: Decoding = SEQUENTIAL,
    *,
    deep: bool = True,
) -> Tokens:
    """Noise of one block -> its tokens.

    Args:
        block: the block; its parameters give the dtype of the network.
        z: noise ``(b, n, d)`` in raster order; not written to.
        labels: ``(b,)``, negative for "no class".
        guidance: a rule for mixing conditional and unconditional maps, or None for the conditional model.
        decoding: how.
        deep: whether the block is the deep one, which some ways leave to the walk.

    Returns:
        tokens ``(b, n, d)`` in raster order, such that ``block(tokens)`` is ``z`` where nothing guides.
    """
    with torch.inference_mode():
        z = reorder(z, block.order)
        if isinstance(decoding, Jacobi) and not (deep and decoding.blocks == "shallow"):
            x = solve(block, z, labels, guidance, decoding).tokens
        else:
            x = walk(block, z, labels, guidance)
        x = reorder(x, block.order)
    return x.clone()  # a tensor of inference mode would be refused by whoever takes a gradient later
