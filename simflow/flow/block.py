"""One affine autoregressive block: parallel towards noise, sequential towards data.

Token *i* is shifted and scaled by what the tokens before it say, in the block's own order:
``z_i = (x_i - shift(x_<i)) * exp(-log_scale(x_<i))`` (SimFlow, Eq. 23; TarFlow). The Jacobian is triangular,
so the log-determinant is a sum (Eq. 24). The block takes and gives tokens in raster order and reorders them,
and its position table, inside.

How the first token is treated:

- ``"unchanged"`` (TarFlow): the outputs move one token on, and token 0 passes as it is;
- ``"learned"`` (STARFlow): the inputs move one token on behind a learned start token, and all are transformed.

How the class enters: it modulates every layer (adaLN-Zero), is added to every token (TarFlow), or stands before
them as a token that all can see (STARFlow). A block without classes is conditioned by nothing, save that adaLN needs
a vector and learns one.

The block does not know that guidance exists: a sampler that guides calls it with a doubled batch.
"""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from simflow.bounds import at_least, positive, share
from simflow.flow.affine import Affine, Scale, from_outputs, outputs_for
from simflow.flow.order import Order, reorder
from simflow.nn.cache import Cache
from simflow.nn.embed import ClassEmbedding, NullClass, PositionTable
from simflow.nn.rotary import Rotary, Rotation
from simflow.nn.transformer import Conditioning, Modulator, Transformer, modulate
from simflow.prior import Hidden
from simflow.shapes import Labels, LogDet, Tokens


@dataclass(frozen=True, kw_only=True)
class BlockConfig:
    """What is the same in all blocks of a flow. The defaults are SimFlow-B's."""

    width: int = 768
    """Numbers in a hidden token."""
    heads: int = 12
    """Attention heads; the width must be a multiple."""
    conditioning: Conditioning = "adaln"
    """How the class reaches the layers: "adaln" (adaLN-Zero), "added" to every token (TarFlow), or as a "prefix"
    token (STARFlow)."""
    null_class: NullClass = "row"
    """What stands for "no class": a learned "row" or the "mean" of all classes (TarFlow)."""
    first_token: Literal["unchanged", "learned"] = "unchanged"
    """The first token passes "unchanged" (TarFlow) or is transformed by a "learned" start token (STARFlow)."""
    positions: PositionTable | Rotary = field(default_factory=PositionTable)
    """A learned table (SimFlow, TarFlow), or rotary positions on the grid (STARFlow)."""
    scale: Scale = "exp"
    """The scale is "exp" of the output, or "softplus" (STARFlow); "none" preserves volume."""
    clip: float | None = None
    """Soft limit on scale and shift outputs (STARFlow: 4), or none."""
    final_norm: bool = False
    """RMS norm before the outputs (STARFlow); adaLN has a modulated norm there already."""
    checkpointing: bool = False
    """Recompute layers in the backward pass: less memory, about a third more time."""
    dropout: float = 0.0
    """Share of the numbers that attention and MLP give which is dropped in training; against learning a few thousand
    images by heart."""

    def __post_init__(self) -> None:
        at_least(1, self, "model.prior.block", "width", "heads")
        positive(self, "model.prior.block", "clip")
        share(self, "model.prior.block", "dropout")
        if self.final_norm and self.conditioning == "adaln":
            raise ValueError("adaLN has a norm of its own before the outputs: leave final_norm off")


class Condition(NamedTuple):
    """All that a block needs beside its tokens, computed once for a batch."""

    added: Tensor | None
    """What is added to every token, ``(b, 1, width)``, or nothing."""
    prefix: Tensor | None
    """The token that stands before all others, ``(b, 1, width)``, or none."""
    layers: list
    """Modulation of each layer."""
    final: tuple[Tensor, ...] | None
    """Shift and scale of the last norm, if the block has one."""
    temperature: Tensor | None
    """Attention temperature ``(b,)``, or None for one."""
    rotation: Rotation | None
    """Angles of all tokens, the prefix first, where positions are rotary."""
    generator: Generator | None = None
    """What dropout draws from; without it nothing is dropped."""


class Block(nn.Module):
    """Maps tokens ``(b, n, d)`` of a grid ``(h, w)`` to noise; token i hears what tokens < i say."""

    def __init__(
        self,
        config: BlockConfig,
        *,
        layers: int,
        channels: int,
        grid: tuple[int, int],
        classes: int,
        order: Order,
    ) -> None:
        super().__init__()
        self.config, self.grid, self.channels = config, grid, channels
        self.order: Order = order
        self.tokens = grid[0] * grid[1]
        self.prefix = int(config.conditioning == "prefix" and classes > 0)
        width, adaln = config.width, config.conditioning == "adaln"
        self.embed = nn.Linear(channels, width)
        table = config.positions
        self.positions = table.build(self.tokens, width) if isinstance(table, PositionTable) else None
        if isinstance(table, Rotary):
            table.pairs(width // config.heads)
        null = config.null_class if classes else "row"
        std = 0.01 if config.conditioning == "added" else 0.02
        conditioned = adaln or classes > 0
        self.classes = (
            ClassEmbedding(classes=classes, width=width, null=null, std=std) if conditioned else None
        )
        self.transformer = Transformer(
            width=width,
            heads=config.heads,
            layers=layers,
            conditioning=config.conditioning,
            causal=True,
            checkpointing=config.checkpointing,
            dropout=config.dropout,
        )
        self.final = Modulator(width=width, parts=2) if adaln else None
        self.final_norm = nn.RMSNorm(width, eps=1e-6) if config.final_norm else None
        self.head = nn.Linear(width, outputs_for(channels, config.scale))
        self.start = nn.Parameter(torch.randn(channels)) if config.first_token == "learned" else None
        self.pass_on()

    def pass_on(self) -> None:
        """Makes the block the identity, as it is at initialisation: no shift, and a scale of one."""
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def condition(self, labels: Labels, temperature: Tensor | None = None) -> Condition:
        """What the labels ``(b,)`` say to every layer; negative labels are "no class"."""
        vector = None if self.classes is None else self.classes(labels)
        token = None if vector is None else vector[:, None]
        return Condition(
            added=token if self.config.conditioning == "added" else None,
            prefix=token if self.config.conditioning == "prefix" else None,
            layers=self.transformer.condition(vector),
            final=None if self.final is None else self.final(vector),
            temperature=temperature,
            rotation=self.rotation(),
        )

    def rotation(self) -> Rotation | None:
        """The angles of all tokens in the block's order, where positions are rotary; float32 or wider."""
        config, weight = self.config, self.embed.weight
        if isinstance(config.positions, PositionTable):
            return None
        return config.positions.rotation(
            grid=self.grid,
            head_size=config.width // config.heads,
            prefix=self.prefix,
            dtype=torch.promote_types(weight.dtype, torch.float32),
            device=weight.device,
        )

    def cache(self, *, batch: int, dtype: torch.dtype, device: torch.device) -> Cache:
        """An empty cache for a batch of whole walks through the tokens."""
        return self.transformer.cache(
            batch=batch, tokens=self.prefix + self.tokens, dtype=dtype, device=device
        )

    def forward(
        self, x: Tokens, condition: Condition, *, keep: int | None = None
    ) -> tuple[Tokens, LogDet, Hidden | None]:
        """Tokens -> noise, all at once.

        Returns:
            noise ``(b, n, d)`` in raster order, ``log |det dz/dx|`` ``(b,)``, and the hidden tokens after
            layer ``keep`` in raster order if one is named.
        """
        x = reorder(x, self.order)
        affine, kept = self.affine_of(x, condition, keep=keep)
        z = affine.forward(x)
        return reorder(z, self.order), affine.log_det(), None if kept is None else reorder(kept, self.order)

    def affine_of(
        self, x: Tokens, condition: Condition, *, keep: int | None = None
    ) -> tuple[Affine, Hidden | None]:
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
    ) -> tuple[Affine, Hidden | None]:
        """Inputs at ``position ..`` in the block's order -> the affine maps that they give to the next tokens."""
        h = self.embed(x).to(x.dtype)
        if self.positions is not None:
            h = h + reorder(self.positions, self.order)[position : position + x.shape[1]]
        if condition.added is not None:
            h = h + condition.added
        prefix = condition.prefix if position == 0 else None
        if prefix is not None:
            h = torch.cat([prefix, h], dim=1)
        h, kept = self.transformer(
            h,
            condition.layers,
            cache=cache,
            position=position if prefix is not None else position + self.prefix,
            temperature=condition.temperature,
            rotation=condition.rotation,
            keep=keep,
            generator=condition.generator,
        )
        if prefix is not None:
            h, kept = h[:, 1:], None if kept is None else kept[:, 1:]
        if self.final_norm is not None:
            h = self.final_norm(h)
        if condition.final is not None:
            h = modulate(F.layer_norm(h, (self.config.width,), eps=1e-6), *condition.final)
        outputs = self.head(h).to(x.dtype)
        return from_outputs(outputs, scale=self.config.scale, clip=self.config.clip), kept
