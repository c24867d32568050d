"""A chain of affine blocks as a prior: latents <-> noise, exactly.

TarFlow, STARFlow and SimFlow are this chain with different blocks. ``depths`` lists the layers of each block in
the order data -> noise: equal numbers make a TarFlow, a long last entry makes the deep-shallow STARFlow, whose
deep block is the last towards noise and so the first when sampling. No block at all makes the standard normal prior
of a plain VAE.

``log p(x) = log N(z; 0, 1) + sum of the blocks' log_det`` (SimFlow, Eq. 21 and 25). The last link of the chain is
the base (:mod:`simflow.flow.base`): nothing, unless the noise has a fitted variance.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Generator, Tensor, nn

from simflow.bounds import at_least
from simflow.flow.base import FittedNormal, StandardNormal
from simflow.flow.block import Block, BlockConfig
from simflow.flow.decode import SEQUENTIAL, Decoding, undo, ways
from simflow.flow.guidance import GaussianProduct, Guidance, LogScale
from simflow.flow.order import Order, alternating
from simflow.flow.reparametrised import undo_with_gradient
from simflow.nn.tokens import to_latents, to_tokens
from simflow.prior import Align, Energy, Hidden, Prior
from simflow.shapes import Labels, Latents, LogDet, PerImage, Tokens


@dataclass(frozen=True, kw_only=True)
class FlowConfig:
    """A chain of affine autoregressive blocks in alternating order. The defaults are SimFlow-B's."""

    patch: int = 1
    """Side of the square of latent positions that makes one token."""
    depths: tuple[int, ...] = (2, 2, 2, 2, 2, 2)
    """Layers of each block, data -> noise; the last entry is the deep block."""
    first: Order = "raster"
    """Order of the first block, data -> noise; the others alternate."""
    labelled: Literal["all", "deep"] = "all"
    """Which blocks see the label: all, or the deep one only (STARFlow from text)."""
    block: BlockConfig = field(default_factory=BlockConfig)
    """What all blocks share."""
    base: StandardNormal | FittedNormal = field(default_factory=StandardNormal)
    """What the noise is; fitted where the blocks preserve volume."""

    def __post_init__(self) -> None:
        at_least(1, self, "model.prior", "patch", "depths")

    def build(self, *, latent_shape: tuple[int, int, int], classes: int) -> "Flow":
        """The flow for latents of ``latent_shape = (c, h, w)`` and ``classes`` classes (0: unconditional)."""
        return Flow(self, latent_shape=latent_shape, classes=classes)


class Flow(Prior):
    """A chain of :class:`Block` as a prior with an exact density.

    Raises:
        ValueError: the patch does not divide the latent.
    """

    kind: ClassVar[str] = "flow"
    rules: ClassVar[tuple[type[Any], ...]] = (GaussianProduct, LogScale, Guidance)

    def __init__(self, config: FlowConfig, *, latent_shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        c, h, w = latent_shape
        if h % config.patch or w % config.patch:
            raise ValueError(f"a patch of {config.patch} does not divide latents of {h} x {w}")
        self.patch, self.latent_shape, self.classes = config.patch, latent_shape, classes
        grid, channels = (h // config.patch, w // config.patch), c * config.patch**2
        self.noise_shape = (grid[0] * grid[1], channels)
        self.hidden_width, self.grid, self.depths = config.block.width, grid, config.depths
        number = len(config.depths)
        seen = [classes if config.labelled == "all" or i == number - 1 else 0 for i in range(number)]
        self.blocks = nn.ModuleList(
            Block(config.block, layers=layers, channels=channels, grid=grid, classes=known, order=order)
            for layers, known, order in zip(
                config.depths, seen, alternating(number, config.first), strict=True
            )
        )
        self.base = config.base.build(self.noise_shape)

    @property
    def described(self) -> str:
        """The blocks, data -> noise, and how deep the last one is."""
        if not self.depths:
            return "no blocks: latents are standard normal"
        layers = ", ".join(map(str, self.depths))
        return f"blocks of {layers} layers, width {self.hidden_width}; deep block {self.depths[-1]} layers"

    def chain(self) -> list[Block]:
        """The blocks, data -> noise."""
        return cast("list[Block]", list(self.blocks))

    def forward(self, latents: Latents, labels: Labels) -> tuple[Tokens, LogDet]:
        """Latents ``(b, c, h, w)`` -> noise ``(b, n, d)`` and ``log |det dz/dx|`` ``(b,)``."""
        u, log_det, _ = self.walk(latents, labels, None)
        z, change = self.base(u)
        return z, log_det + change

    def walk(
        self, latents: Latents, labels: Labels, align: Align | None, generator: Generator | None = None
    ) -> tuple[Tokens, LogDet, Hidden | None]:
        """:meth:`forward` as far as the base, and the hidden tokens that ``align`` names, in raster order; with
        dropout if given a generator."""
        x = to_tokens(latents, self.patch)
        log_det, hidden = x.new_zeros(x.shape[0]), None
        for number, block in enumerate(self.chain(), start=1):
            keep = align.layer if align is not None and align.block == number else None
            condition = block.condition(labels)._replace(generator=generator)
            x, change, kept = block(x, condition, keep=keep)
            log_det = log_det + change
            hidden = hidden if kept is None else kept
        return x, log_det, hidden

    def energy(
        self, latents: Latents, labels: Labels, generator: Generator, align: Align | None = None
    ) -> Energy:
        """``-log p(x) - D/2 log(2 pi)`` in nats ``(b,)``: the negative of Eq. 25. Draws what is dropped in training.

        A fitted base observes here, in training mode; the energy takes its variance for one, as TarFlow does.
        """
        u, log_det, hidden = self.walk(latents, labels, align, generator if self.training else None)
        if self.training:
            self.base.observe(u)
        return Energy(0.5 * u.square().sum(dim=(1, 2)) - log_det, hidden)

    def settle(self, average: Callable[[Tensor], Tensor]) -> None:
        self.base.settle(average)

    def least_energy(self, floor: float) -> float:
        """The entropy of the noise: no density predicts it better."""
        return floor

    def log_prob(self, latents: Latents, labels: Labels) -> PerImage:
        """``log p(latents | labels)`` in nats ``(b,)``, all constants included."""
        z, log_det = self.forward(latents, labels)
        return log_det - 0.5 * z.square().sum(dim=(1, 2)) - 0.5 * math.log(2 * math.pi) * z.shape[1:].numel()

    def undoing(self, guidance: Any = None) -> list[tuple[int, Block, Guidance | None]]:
        """The blocks as they are undone, noise -> data: number from 0 in :meth:`chain`, block, and its guidance.

        Raises:
            ValueError: the rule of guidance is not one of flows.
        """
        self.check_sampling(guidance, None)
        last = len(self.blocks) - 1
        return [
            (i, block, guidance if guidance is not None and guidance.guides(deep=i == last) else None)
            for i, block in reversed(list(enumerate(self.chain())))
        ]

    @torch.no_grad()
    def inverse(
        self, z: Tokens, labels: Labels, guidance: Any = None, decoding: Decoding | None = None
    ) -> Latents:
        """Noise ``(b, n, d)`` -> latents ``(b, c, h, w)``; guided where a rule is given; exactly, unless ``decoding``
        states a tolerance.

        Raises:
            ValueError: the rule of guidance is not one of flows, or a plan is for another number of blocks.
        """
        return self.trajectory(z, labels, guidance, decoding)[-1]

    @torch.no_grad()
    def trajectory(
        self, z: Tokens, labels: Labels, guidance: Any = None, decoding: Decoding | None = None
    ) -> list[Latents]:
        """Noise laid out as latents, then what each undone block makes of it; the last are the latents."""
        way = ways(decoding or SEQUENTIAL, len(self.blocks))
        states, x = [z], self.base.inverse(z)
        for number, block, rule in self.undoing(guidance):
            x = undo(block, x, labels, rule, way[number])
            states.append(x)
        return [to_latents(state, self.patch, self.latent_shape) for state in states]

    def reparametrised(self, z: Tokens, labels: Labels, guidance: Any = None, *, passes: int = 1) -> Latents:
        """:meth:`inverse`, exact, with a gradient in noise and parameters (:mod:`simflow.flow.reparametrised`)."""
        x = self.base.inverse(z)
        for _, block, rule in self.undoing(guidance):
            x = undo_with_gradient(block, x, labels, rule, passes=passes)
        return to_latents(x, self.patch, self.latent_shape)
