"""Undoing a block: noise to data. How is a choice; what comes out is not, up to rounding or a stated tolerance.

- :class:`Sequential`: token by token, exact (:mod:`simflow.flow.sequential`);
- :class:`~simflow.flow.jacobi.Jacobi`: parallel passes to a tolerance (:mod:`simflow.flow.jacobi`);
- :class:`Plan`: one of these for each block, such as the fastest of each (:mod:`simflow.plan` measures which).

To write one: a frozen keyword-only config, a function from noise to tokens in the block's order, and a line below.
"""

from dataclasses import dataclass

import torch

from simflow.flow.block import Block
from simflow.flow.guidance import Guidance
from simflow.flow.jacobi import Jacobi, solve
from simflow.flow.order import reorder
from simflow.flow.recording import replayed
from simflow.flow.sequential import walk
from simflow.shapes import Labels, Tokens


@dataclass(frozen=True, kw_only=True)
class Sequential:
    """Token by token, exactly: the least arithmetic."""

    compiled: bool = True
    """Whether compiled loops are used where they can be: on a CPU, where there is GCC or Clang."""
    graphs: bool = False
    """Whether a GPU records the walk of a batch as a CUDA graph and replays it for later ones of its shape."""


Way = Sequential | Jacobi
"""How one block is undone."""
SEQUENTIAL = Sequential()


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A way of its own for each block: the hard ones token by token, the easy ones in a few passes."""

    blocks: tuple[Sequential | Jacobi, ...]
    """One for each block, data -> noise, as ``depths`` lists them."""


Decoding = Sequential | Jacobi | Plan
"""How all blocks are undone."""


def ways(decoding: Decoding, blocks: int) -> tuple[Way, ...]:
    """The way of each of so many blocks, data -> noise; the last is the deep one.

    >>> ways(Jacobi(blocks="shallow"), 2)[1]
    Sequential(compiled=True, graphs=False)

    Raises:
        ValueError: a plan for another number of blocks.
    """
    each = decoding.blocks if isinstance(decoding, Plan) else (decoding,) * blocks
    if len(each) != blocks:
        raise ValueError(f"this plan is for {len(each)} blocks, and the flow has {blocks}")
    return tuple(
        SEQUENTIAL if isinstance(way, Jacobi) and way.blocks == "shallow" and number == blocks else way
        for number, way in enumerate(each, start=1)
    )


def undo(block: Block, z: Tokens, labels: Labels, guidance: Guidance | None, way: Way = SEQUENTIAL) -> Tokens:
    """Noise of one block -> its tokens.

    Args:
        block: the block; its parameters give the dtype of the network.
        z: noise ``(b, n, d)`` in raster order; not written to.
        labels: ``(b,)``, negative for "no class".
        guidance: a rule for mixing conditional and unconditional maps, or None for the conditional model.
        way: how.

    Returns:
        tokens ``(b, n, d)`` in raster order, such that ``block(tokens)`` is ``z`` where nothing guides.
    """
    with torch.inference_mode():
        z = reorder(z, block.order)
        if isinstance(way, Jacobi):
            x = solve(block, z, labels, guidance, way).tokens
        elif way.graphs and z.is_cuda:
            x = replayed(block, z, labels, guidance)
        else:
            x = walk(block, z, labels, guidance, compiled=way.compiled)
        x = reorder(x, block.order)
    return x.clone()  # a tensor of inference mode would be refused by whoever takes a gradient later
