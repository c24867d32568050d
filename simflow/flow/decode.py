"""Undoing a block: noise to data. How is a choice; what comes out is not, up to rounding or a stated tolerance.

This file prepares a walk (order, conditions, the doubled batch of guidance) and hands it to the method asked for.
"""

import torch

from simflow.flow.block import Block, Condition
from simflow.flow.guidance import Guidance
from simflow.flow.order import reorder
from simflow.flow.sequential import walk
from simflow.shapes import NULL, Labels, Tokens


def undo(block: Block, z: Tokens, labels: Labels, guidance: Guidance | None) -> Tokens:
    """Noise of one block -> its tokens, exactly.

    Args:
        block: the block; its parameters give the dtype of the network.
        z: noise ``(b, n, d)`` in raster order; not written to.
        labels: ``(b,)``, negative for "no class".
        guidance: a rule for mixing conditional and unconditional maps, or None for the conditional model.

    Returns:
        tokens ``(b, n, d)`` in raster order, such that ``block(tokens)`` is ``z`` where nothing guides.
    """
    with torch.inference_mode():
        condition = block.condition(labels) if guidance is None else doubled(block, labels, guidance)
        x = reorder(walk(block, reorder(z, block.order), condition, guidance), block.order)
    return x.clone()  # a tensor of inference mode would be refused by whoever takes a gradient later


def doubled(block: Block, labels: Labels, guidance: Guidance) -> Condition:
    """The condition of the batch twice: under its labels, then under none at the temperature of the guidance."""
    temperature = None
    if guidance.temperature != 1:
        temperature = torch.ones(2 * len(labels), device=labels.device)
        temperature[len(labels) :] = guidance.temperature
    return block.condition(torch.cat([labels, torch.full_like(labels, NULL)]), temperature)
