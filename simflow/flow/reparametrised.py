"""Samples that a gradient can pass: noise to data, differentiable in the noise and in the parameters of the blocks.

Undoing a block solves ``x_i = z_i exp(log_scale(x_<i)) + shift(x_<i)``. The solution is found as ever, token by token
and without a gradient; a parallel pass (:mod:`simflow.flow.jacobi`) from the solution gives the solution again, with a
gradient through what every token is told. After *p* passes gradients have gone through chains of *p* tokens of the
block, so as many passes as it has tokens give the exact gradient, and fewer its first orders: one pass, the usual
choice, costs a forward and a backward pass where the whole chain costs as many as there are tokens.
"""

import torch
from torch import Tensor

from simflow.flow.block import Block
from simflow.flow.decode import undo
from simflow.flow.guidance import Guidance
from simflow.flow.guided import condition_for, mix
from simflow.flow.order import reorder
from simflow.shapes import Labels, Tokens


def undo_with_gradient(
    block: Block, z: Tokens, labels: Labels, guidance: Guidance | None, *, passes: int
) -> Tokens:
    """:func:`~simflow.flow.decode.undo`, exactly, with a gradient.

    Args:
        block: the block.
        z: noise ``(b, n, d)`` in raster order; a gradient may pass through it.
        labels: ``(b,)``, negative for "no class".
        guidance: a rule for mixing conditional and unconditional maps, or None.
        passes: orders of the gradient, at least 1.
    """
    with torch.no_grad(), torch.autocast(z.device.type, enabled=False):
        solution = undo(block, z.detach(), labels, guidance)
    noise, x = reorder(z, block.order), reorder(solution, block.order)
    condition = condition_for(block, labels, guidance)
    times = 1 if guidance is None else 2
    places = torch.arange(block.tokens, dtype=z.dtype, device=z.device)[:, None]
    for _ in range(passes):
        affine, _ = block.affine_of(x.repeat(times, 1, 1), condition)
        passed = mix(affine, guidance, position=places, tokens=block.tokens).inverse(noise)
        x = standing_at(x, passed)
    return reorder(x, block.order)


def standing_at(value: Tensor, source: Tensor) -> Tensor:
    """The value of the one with the gradient of the other: rounding of a pass does not add up."""
    return value.detach() + (source - source.detach())
