"""A block under guidance: twice the rows in, one affine map out.

The conditional and the unconditional model are one batch of ``2 b`` rows over the same tokens; without guidance the
batch stays as it is. However a block is undone, it is prepared and mixed here.

Under autocast the networks compute in half precision; what they say of a token is then made wide again, and the affine
map itself is applied in the dtype of the tokens.
"""

import copy

import torch
from torch import Tensor, nn

from simflow.flow.affine import Affine
from simflow.flow.block import Block, Condition
from simflow.flow.guidance import Guidance
from simflow.shapes import NULL, Labels


def condition_for(block: Block, labels: Labels, guidance: Guidance | None) -> Condition:
    """The condition of the labels ``(b,)``; guided, of ``2 b`` rows: under the labels, then under none at the
    attention temperature of the guidance."""
    if guidance is None:
        return block.condition(labels)
    temperature = None
    if guidance.temperature != 1:
        temperature = torch.ones(2 * len(labels), device=labels.device)
        temperature[len(labels) :] = guidance.temperature
    return block.condition(torch.cat([labels, torch.full_like(labels, NULL)]), temperature)


def mix(affine: Affine, guidance: Guidance | None, *, position: int | Tensor, tokens: int) -> Affine:
    """The map of ``2 b`` rows as one of ``b``; without guidance the map as it is.

    ``position`` is that of the transformed token in the block's order, or ``(n, 1)`` for several.
    """
    if guidance is None:
        return affine
    (shift, other_shift), (log_scale, other_log_scale) = (part.chunk(2) for part in affine)
    return guidance.combine(
        Affine(shift, log_scale), Affine(other_shift, other_log_scale), position=position, tokens=tokens
    )


def network_dtype(block: Block) -> torch.dtype:
    """The dtype in which the block's attention will meet its keys: autocast's if it is on."""
    weight = block.embed.weight
    if torch.is_autocast_enabled(weight.device.type):
        return torch.get_autocast_dtype(weight.device.type)
    return weight.dtype


def narrowed(block: Block) -> Block:
    """The block with the weights of its linear maps in :func:`network_dtype`, cast once instead of in every pass.

    All else is shared with the block; where there is nothing to cast it is the block itself.
    """
    dtype = network_dtype(block)
    if dtype == block.embed.weight.dtype:
        return block
    known: dict[int, object] = {id(tensor): tensor for tensor in block.parameters()}
    for module in block.modules():
        if isinstance(module, nn.Linear):
            for tensor in module.parameters():
                known[id(tensor)] = nn.Parameter(tensor.to(dtype), requires_grad=False)
    return copy.deepcopy(block, known)
