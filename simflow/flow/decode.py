"""Undoing a block: noise to data, token by token, with a cache in hand.

The block gives the affine map of token *i* from the tokens before it; undoing it needs those tokens, so the
inverse walks. Each step runs the network on one token and a cache holds what the earlier ones said: all steps
together cost about one parallel pass. With guidance the conditional and the unconditional model run as one
batch of ``2 b`` over the same tokens.

This file knows blocks only by :meth:`~simflow.flow.block.Block.next_affine`, and guidance only by ``combine``.
"""

import torch
from torch import Tensor

from simflow.flow.affine import Affine
from simflow.flow.block import Block, Condition
from simflow.flow.guidance import Guidance
from simflow.flow.order import reorder
from simflow.shapes import NULL, Labels, Tokens


def undo(block: Block, z: Tokens, labels: Labels, guidance: Guidance | None) -> Tokens:
    """Noise of one block -> its tokens, sequentially and exactly.

    Args:
        block: the block; its parameters give the dtype of the network.
        z: noise ``(b, n, d)`` in raster order; not written to.
        labels: ``(b,)``, negative for "no class".
        guidance: a rule for mixing conditional and unconditional maps, or None for the conditional model.

    Returns:
        tokens ``(b, n, d)`` in raster order, such that ``block(tokens)`` is ``z`` where nothing guides.
    """
    batch, tokens, _ = z.shape
    z = reorder(z, block.order)
    condition = block.condition(labels) if guidance is None else doubled(block, labels, guidance)
    rows = batch if guidance is None else 2 * batch
    cache = block.cache(batch=rows, dtype=cache_dtype(block, z), device=z.device)
    x = torch.empty_like(z)

    def affine_after(token: Tokens, position: int) -> Affine:
        """The affine map of the token that follows ``token``, which enters at ``position``."""
        twice = token if guidance is None else token.repeat(2, 1, 1)
        affine, _ = block.next_affine(twice, condition, position=position, cache=cache)
        if guidance is None:
            return affine
        conditional, unconditional = (
            Affine(*pair) for pair in zip(*(p.chunk(2) for p in affine), strict=True)
        )
        index = position + (block.start is None)
        return guidance.combine(conditional, unconditional, position=index, tokens=tokens)

    if block.start is None:
        x[:, :1] = z[:, :1]
        for i in range(1, tokens):
            x[:, i : i + 1] = affine_after(x[:, i - 1 : i], i - 1).inverse(z[:, i : i + 1])
    else:
        before = block.start.to(z.dtype).expand(batch, 1, -1)
        for i in range(tokens):
            x[:, i : i + 1] = affine_after(before, i).inverse(z[:, i : i + 1])
            before = x[:, i : i + 1]
    return reorder(x, block.order)


def doubled(block: Block, labels: Labels, guidance: Guidance) -> Condition:
    """The condition of the batch twice: under its labels, then under none at the temperature of the guidance."""
    temperature = None
    if guidance.temperature != 1:
        temperature = torch.ones(2 * len(labels), device=labels.device)
        temperature[len(labels) :] = guidance.temperature
    return block.condition(torch.cat([labels, torch.full_like(labels, NULL)]), temperature)


def cache_dtype(block: Block, z: Tensor) -> torch.dtype:
    """The dtype in which the block's attention will meet its keys: autocast's if it is on."""
    if torch.is_autocast_enabled(z.device.type):
        return torch.get_autocast_dtype(z.device.type)
    return block.embed.weight.dtype
