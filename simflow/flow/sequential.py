"""Undoing a block token by token: exact, and all steps together cost about one parallel pass.

The block gives the affine map of token *i* from the tokens before it; undoing it needs those tokens, so the inverse
walks, with the keys and values of earlier tokens at hand. With guidance the conditional and the unconditional model
walk as one batch of ``2 b`` rows over the same tokens.

A step is made of torch's operations (:mod:`simflow.nn.step`), or, in float32 or bfloat16 on a CPU with a C compiler, of
compiled loops (:mod:`simflow.flow.compiled`), which take about half the time.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from simflow.flow.affine import Affine, Scale, from_outputs
from simflow.flow.block import Block, Condition
from simflow.flow.compiled import CompiledStep
from simflow.flow.guidance import Guidance
from simflow.flow.guided import condition_for, mix, network_dtype
from simflow.flow.order import reorder
from simflow.native import library as native
from simflow.nn.step import Dense, Norm, TransformerStep
from simflow.shapes import Labels, Tokens


def walk(
    block: Block, z: Tokens, labels: Labels, guidance: Guidance | None, *, compiled: bool = True
) -> Tokens:
    """Noise in the block's order -> tokens in the block's order, one after the other.

    Args:
        block: the block.
        z: noise ``(b, n, d)``; not written to.
        labels: ``(b,)``, negative for "no class".
        guidance: a rule for mixing conditional and unconditional maps, or None.
        compiled: whether compiled loops are used where there are any.
    """
    b, tokens, channels = z.shape
    condition, rows = condition_for(block, labels, guidance), b if guidance is None else 2 * b
    loops = loops_for(block, z) if compiled else None
    step = step_of(block, condition, rows=rows, wide=z.dtype, loops=loops)
    x = torch.empty_like(z)
    with torch.autocast(z.device.type, enabled=False):
        if block.start is None:
            x[:, 0], before, first = z[:, 0], z[:, 0], 1
        else:
            before, first = block.start.to(z.dtype).expand(b, channels), 0
        for i in range(first, tokens):
            affine = step(before if guidance is None else before.repeat(2, 1), i - first)
            affine = mix(affine, guidance, position=i, tokens=tokens)
            x[:, i : i + 1] = affine.inverse(z[:, i : i + 1])
            before = x[:, i]
    return x


def loops_for(block: Block, z: Tokens) -> native.Loops | None:
    """The compiled loops, if there are any and everything is on a CPU and in float32; the networks may compute in
    bfloat16."""
    wide = z.dtype == block.embed.weight.dtype == torch.float32
    known = wide and network_dtype(block) in {torch.float32, torch.bfloat16}
    return native.library() if known and z.device.type == "cpu" else None


def step_of(
    block: Block, condition: Condition, *, rows: int, wide: torch.dtype, loops: native.Loops | None
) -> "BlockStep | CompiledStep":
    """The step of a walk, made of compiled loops if they are given."""
    if loops is None:
        return BlockStep(block, condition, rows=rows, wide=wide)
    return CompiledStep(block, condition, rows=rows, half=network_dtype(block) is torch.bfloat16, loops=loops)


class BlockStep:
    """A block as the affine map of the next token after one token: ``next_affine`` of a walk from the first."""

    def __init__(self, block: Block, condition: Condition, *, rows: int, wide: torch.dtype) -> None:
        weight, dtype = block.embed.weight, network_dtype(block)
        self.scale: Scale = block.config.scale
        self.clip, self.prefix = block.config.clip, block.prefix
        self.embed, self.head = Dense.of(block.embed, dtype), Dense.of(block.head, dtype)
        self.positions = None if block.positions is None else reorder(block.positions, block.order).to(wide)
        if condition.added is not None:
            self.embed = self.embed._replace(bias=self.embed.bias + condition.added[:, 0].to(dtype))
        self.final = None
        if condition.final is not None:
            shift, scale = condition.final
            self.final = Norm.modulated(shift, scale, wide)
        self.final_norm = block.final_norm
        self.wide = wide
        self.h = weight.new_empty(rows, weight.shape[0], dtype=dtype)
        self.out = weight.new_empty(rows, block.head.out_features, dtype=dtype)
        self.transformer = TransformerStep(
            block.transformer,
            condition.layers,
            rows=rows,
            tokens=block.prefix + block.tokens,
            dtype=dtype,
            wide=wide,
            temperature=condition.temperature,
            rotation=condition.rotation,
        )
        if condition.prefix is not None:
            self.transformer(condition.prefix[:, 0].to(wide, copy=True), 0)

    def __call__(self, token: Tensor, position: int) -> Affine:
        """Inputs ``(rows, d)`` at ``position`` -> the map ``(rows, 1, d)`` that they give to the next token."""
        h = self.embed(token, self.h).to(self.wide)
        if self.positions is not None:
            h.add_(self.positions[position])
        h = self.transformer(h, self.prefix + position)
        if self.final_norm is not None:
            h = F.rms_norm(h, h.shape[-1:], self.final_norm.weight, self.final_norm.eps)
        if self.final is not None:
            h = self.final(h)
        return from_outputs(self.head(h, self.out)[:, None].to(self.wide), scale=self.scale, clip=self.clip)
