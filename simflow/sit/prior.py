"""SiT as a prior: latents <-> noise by an ordinary differential equation (Ma et al. 2024; SimFlow, Table 7).

Training compares a predicted velocity with that of a straight line between a latent and fresh noise; sampling
follows the predictions back from noise. There is no density, so there are no score steps and likelihoods.

The energy is a squared error, not nats. Trained end to end it too pulls latents together; with a fixed variance it
cannot fall below that of pure noise (:func:`simflow.sit.path.least_error`), which the collapse monitor watches.
"""

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Generator

from simflow.bounds import at_least
from simflow.nn.tokens import to_latents, to_tokens
from simflow.prior import Align, Energy, Prior
from simflow.shapes import NULL, Labels, Latents, Tokens
from simflow.sit.guidance import ClassifierFree
from simflow.sit.network import VelocityNetwork
from simflow.sit.path import between, least_error, velocity
from simflow.sit.solver import Euler, Heun


@dataclass(frozen=True, kw_only=True)
class SiTConfig:
    """A velocity network and how it is followed. The defaults are SiT-XL's on a grid of one latent a token."""

    patch: int = 1
    """Side of the square of latent positions that makes one token."""
    width: int = 1152
    """Numbers in a hidden token."""
    depth: int = 28
    """Layers."""
    heads: int = 16
    """Attention heads; the width must be a multiple."""
    solver: Euler | Heun = field(default_factory=Heun)
    """How samples follow the velocity."""
    checkpointing: bool = False
    """Recompute layers in the backward pass: less memory, about a third more time."""

    def __post_init__(self) -> None:
        at_least(1, self, "model.prior", "patch", "width", "depth", "heads")

    def build(self, *, latent_shape: tuple[int, int, int], classes: int) -> "SiT":
        """The prior for latents of ``latent_shape = (c, h, w)`` and ``classes`` classes (0: unconditional)."""
        return SiT(self, latent_shape=latent_shape, classes=classes)


class SiT(Prior):
    """A straight-line interpolant with a velocity network.

    Raises:
        ValueError: the patch does not divide the latent.
    """

    kind: ClassVar[str] = "SiT"
    rules: ClassVar[tuple[type[Any], ...]] = (ClassifierFree,)

    def __init__(self, config: SiTConfig, *, latent_shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        c, h, w = latent_shape
        if h % config.patch or w % config.patch:
            raise ValueError(f"a patch of {config.patch} does not divide latents of {h} x {w}")
        self.config, self.latent_shape = config, latent_shape
        self.grid, channels = (h // config.patch, w // config.patch), c * config.patch**2
        self.noise_shape = (self.grid[0] * self.grid[1], channels)
        self.hidden_width, self.depths = config.width, (config.depth,)
        self.network = VelocityNetwork(
            channels=channels,
            tokens=self.noise_shape[0],
            width=config.width,
            depth=config.depth,
            heads=config.heads,
            classes=classes,
            checkpointing=config.checkpointing,
        )

    @property
    def described(self) -> str:
        """The layers of the network."""
        return f"{self.config.depth} layers, width {self.config.width}"

    def energy(
        self, latents: Latents, labels: Labels, generator: Generator, align: Align | None = None
    ) -> Energy:
        """Squared error of the velocity ``(b,)``, a sum over numbers. Draws noise, then times in [0, 1)."""
        x = to_tokens(latents, self.config.patch)
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
        times = torch.rand(len(x), generator=generator, dtype=x.dtype, device=x.device)
        keep = None if align is None else align.layer
        predicted, hidden = self.network(between(x, noise, times), times, labels, keep=keep)
        return Energy((predicted - velocity(x, noise)).square().sum(dim=(1, 2)), hidden)

    def least_energy(self, floor: float) -> float:
        """The velocity error of pure noise of that entropy, were it Gaussian."""
        return least_error(math.exp(floor - 0.5))

    @torch.no_grad()
    def inverse(self, z: Tokens, labels: Labels, guidance: Any = None, decoding: Any = None) -> Latents:
        """Noise ``(b, n, d)`` -> latents ``(b, c, h, w)``; guided where :class:`ClassifierFree` is given.

        With guidance both predictions are one batch of ``2 b``.

        Raises:
            ValueError: the rule of guidance or the way of decoding is a flow's.
        """
        self.check_sampling(guidance, decoding)

        def predicted(x: Tokens, time: float, under: Labels) -> Tokens:
            times = torch.full((len(x),), time, dtype=x.dtype, device=x.device)
            return self.network(x, times, under)[0]

        def guided(x: Tokens, time: float) -> Tokens:
            if guidance is None or guidance.weight == 0:
                return predicted(x, time, labels)
            both = torch.cat([labels, torch.full_like(labels, NULL)])
            return guidance.combine(*predicted(x.repeat(2, 1, 1), time, both).chunk(2))

        x = self.config.solver.follow(guided, z)
        return to_latents(x, self.config.patch, self.latent_shape)
