"""One affine autoregressive block: parallel towards noise, sequential towards data.

Token *i* is shifted and scaled by what the tokens before it say, in the block's own order:
``z_i = (x_i - shift(x_<i)) * exp(-log_scale(x_<i))`` (SimFlow, Eq. 23; TarFlow). The Jacobian is triangular,
so the log-determinant is a sum (Eq. 24). The block takes and gives tokens in raster order and reorders them,
and its position table, inside.

How the first token is treated:

- ``"unchanged"`` (TarFlow): the outputs move one token on, and token 0 passes as it is;
- ``"learned"`` (STARFlow): the inputs move one token on behind a learned start token, and all are transformed.

The block does not know that guidance exists: a sampler that guides calls it with a doubled batch.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from simflow.flow.affine import Affine, Scale, from_outputs
from simflow.flow.order import Order, reorder
from simflow.nn.cache import Cache
from simflow.nn.embed import ClassEmbedding, NullClass
from simflow.nn.transformer import Conditioning, Modulator, Transformer, modulate
from simflow.shapes import Labels, LogDet, Tokens
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class BlockConfig:
    """What is the same in all blocks of a flow. The defaults are SimFlow-B's."""

    width: int = 768
    """Numbers in a hidden token."""
    heads: int = 12
    """Attention heads; the width must be a multiple."""
    conditioning: Conditioning = "adaln"
    """How the class reaches the layers: "adaln" (adaLN-Zero) or "added" to every token (TarFlow)."""
    null_class: NullClass = "row"
    """What stands for "no class": a learned "row" or the "mean" of all classes (TarFlow)."""
    first_token: Literal["unchanged", "learned"] = "unchanged"
    """The first token passes "unchanged" (TarFlow) or is transformed by a "learned" start token (STARFlow)."""
    scale: Scale = "exp"
    """The scale is "exp" of the output, or "softplus"."""
    clip: float | None = None
    """Soft limit on scale and shift outputs (STARFlow: 4), or none."""
    checkpointing: bool = False
    """Recompute layers in the backward pass: less memory, about a third more time."""


class Condition(NamedTuple):
    """All that a block needs of the labels, computed once for a batch."""

    vector: Tensor
    """Class vectors ``(b, width)``."""
    layers: list
    """Modulation of each layer."""
    final: tuple[Tensor, ...] | None
    """Shift and scale of the last norm, if the block has one."""
    temperature: Tensor | None
    """Attention temperature ``(b,)``, or None for one."""


class Block(nn.Module):
    """Maps tokens ``(b, n, d)`` to noise; token i is shifted and scaled by what tokens < i say."""

    def __init__(
        self, config: BlockConfig, *, layers: int, channels: int, tokens: int, classes: int, order: Order
    ) -> None:
        super().__init__()
        self.config, self.order, self.tokens, self.channels = config, order, tokens, channels
        width, adaln = config.width, config.conditioning == "adaln"
        self.embed = nn.Linear(channels, width)
        self.positions = nn.Parameter(torch.randn(tokens, width) * 0.01)
        null = config.null_class if classes else "row"
        self.classes = ClassEmbedding(classes=classes, width=width, null=null, std=0.02 if adaln else 0.01)
        self.transformer = Transformer(
            width=width,
            heads=config.heads,
            layers=layers,
            conditioning=config.conditioning,
            causal=True,
            checkpointing=config.checkpointing,
        )
        self.final = Modulator(width=width, parts=2) if adaln else None
        self.head = nn.Linear(width, 2 * channels)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.start = nn.Parameter(torch.randn(channels) * 0.02) if config.first_token == "learned" else None

    def condition(self, labels: Labels, temperature: Tensor | None = None) -> Condition:
        """What the labels ``(b,)`` say to every layer; negative labels are "no class"."""
        vector = self.classes(labels)
        final = None if self.final is None else self.final(vector)
        return Condition(vector, self.transformer.condition(vector), final, temperature)

    def forward(
        self, x: Tokens, condition: Condition, *, keep: int | None = None
    ) -> tuple[Tokens, LogDet, Tokens | None]:
        """Tokens -> noise, all at once.

        Returns:
            noise ``(b, n, d)`` in raster order, ``log |det dz/dx|`` ``(b,)``, and the hidden tokens after
            layer ``keep`` in raster order if one is named.
        """
        x = reorder(x, self.order)
        affine, kept = self.affine_of(x, condition, keep=keep)
        z = affine.forward(x)
        return reorder(z, self.order), affine.log_det(), None if kept is None else reorder(kept, self.order)

    def affine_of(self, x: Tokens, condition: Condition, *, keep: int | None = None) -> tuple[Affine, Tokens | None]:
        """The affine map of every token given all of them, in the block's order; causal."""
        if self.start is not None:
            start = self.start.to(x.dtype).expand(x.shape[0], 1, -1)
            return self.next_affine(torch.cat([start, x[:, :-1]], dim=1), condition, keep=keep)
        seen = x if keep is not None else x[:, :-1]  # the last output is of no use to the affine
        affine, kept = self.next_affine(seen, condition, keep=keep)
        rest = slice(0, self.tokens - 1)
        shift, log_scale = (F.pad(part[:, rest], (0, 0, 1, 0)) for part in affine)
        return Affine(shift, log_scale), kept

    def next_affine(
        self,
        x: Tokens,
        condition: Condition,
        *,
        position: int = 0,
        cache: Cache | None = None,
        keep: int | None = None,
    ) -> tuple[Affine, Tokens | None]:
        """Inputs at ``position ..`` in the block's order -> the affine maps that they give to the next tokens."""
        table = reorder(self.positions, self.order)[position : position + x.shape[1]]
        h = self.embed(x) + table
        if self.final is None:
            h = h + condition.vector[:, None]
        h, kept = self.transformer(
            h, condition.layers, cache=cache, position=position, temperature=condition.temperature, keep=keep
        )
        if condition.final is not None:
            h = modulate(F.layer_norm(h, (self.config.width,), eps=1e-6), *condition.final)
        outputs = self.head(h).to(x.dtype)
        return from_outputs(outputs, scale=self.config.scale, clip=self.config.clip), kept
