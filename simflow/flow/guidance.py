"""Guidance: two affine maps of a token, with and without its class, become one.

Pure functions ``Affine x Affine -> Affine`` and the small configs that choose one. They act on the parameters
in the block's order, before the affine map is undone; nothing here samples.

Two rules that must not be mixed:

- :class:`GaussianProduct` (STARFlow) is exact in the *scale* domain: the token's law is Gaussian given the ones
  before it, and ``p_c^(1+w) p_u^(-w)`` is again Gaussian. It holds for the deep block, whose output is the
  noise itself: for another block a token's law is not Gaussian.
- :class:`LogScale` (TarFlow) extrapolates shift and *log*-scale linearly, in every block.

What is steered away from is the model without its class. A model without classes can still be guided, away from
itself with attention logits divided by a temperature other than one (TarFlow).
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from simflow.flow.affine import LARGEST, Affine


class Guidance(ABC):
    """A rule for flows: how the affine maps of a token with and without its class mix.

    To write one: a frozen keyword-only dataclass with ``weight`` and ``temperature``, ``guides`` and ``combine``.
    """

    weight: float
    """Strength; 0 is the conditional model."""
    temperature: float
    """Attention temperature of the unconditional pass."""

    @property
    def needs_classes(self) -> bool:
        """Whether only a model with classes can be guided so."""
        return self.temperature == 1

    @abstractmethod
    def guides(self, *, deep: bool) -> bool:
        """Whether a block is guided at all."""

    @abstractmethod
    def combine(
        self, conditional: Affine, unconditional: Affine, *, position: int | Tensor, tokens: int
    ) -> Affine:
        """The map that is undone. ``position`` is that of the token being transformed, ``1 .. tokens - 1``, in the
        block's order; for several tokens ``(n, 1)``."""


@dataclass(frozen=True, kw_only=True)
class GaussianProduct(Guidance):
    """STARFlow's guidance: the law ``p(x|c)^(1+w) p(x)^(-w)`` of every token, in the deep block."""

    weight: float = 1.0
    """Strength ``w``; 0 is the conditional model."""
    blocks: Literal["deep", "all"] = "deep"
    """Guide the deep block (STARFlow), or all of them, where the rule is only a heuristic."""
    temperature: float = 1.0
    """Attention temperature of the unconditional pass; other than 1, it guides models without classes too."""

    def __post_init__(self) -> None:
        check(self.weight, self.temperature)

    def guides(self, *, deep: bool) -> bool:
        return self.weight != 0 and (deep or self.blocks == "all")

    def combine(
        self, conditional: Affine, unconditional: Affine, *, position: int | Tensor, tokens: int
    ) -> Affine:
        """See :func:`gaussian_product`; the same at every position."""
        return gaussian_product(conditional, unconditional, self.weight)


@dataclass(frozen=True, kw_only=True)
class LogScale(Guidance):
    """TarFlow's guidance: linear extrapolation of log-scale and shift, in every block."""

    weight: float = 1.0
    """Strength ``w``; 0 is the conditional model."""
    what: Literal["both", "scale", "shift"] = "both"
    """Which parameters are guided."""
    annealed: bool = False
    """Grow the strength along the tokens, from ``w / (n - 1)`` to ``w`` (TarFlow's FID runs)."""
    temperature: float = 1.0
    """Attention temperature of the unconditional pass; other than 1 (TarFlow suggests 0.5 or 1.5), it guides
    models without classes too."""

    def __post_init__(self) -> None:
        check(self.weight, self.temperature)

    def guides(self, *, deep: bool) -> bool:
        return self.weight != 0

    def combine(
        self, conditional: Affine, unconditional: Affine, *, position: int | Tensor, tokens: int
    ) -> Affine:
        weight = self.weight * position / max(tokens - 1, 1) if self.annealed else self.weight
        return log_scale(conditional, unconditional, weight, self.what)


def check(weight: float, temperature: float) -> None:
    """Refuses a strength that would push towards "no class", and a temperature that cannot divide."""
    if not 0 <= weight < math.inf:
        raise ValueError(f"the strength of guidance must be 0 or more and finite, not {weight}")
    if not 0 < temperature < math.inf:
        raise ValueError(
            f"the attention temperature of guidance must be positive and finite, not {temperature}"
        )


def gaussian_product(conditional: Affine, unconditional: Affine, weight: float) -> Affine:
    """The Gaussian proportional to ``p_c^(1+w) p_u^(-w)`` (STARFlow).

    With ``s = min(1, (sigma_c / sigma_u)^2)`` and ``D = 1 + w - w s``: ``sigma = sigma_c / sqrt(D)`` and
    ``mu = ((1 + w) mu_c - w s mu_u) / D``. Limiting ``s`` keeps ``D >= 1``, so the product is always normalisable.
    """
    s = torch.exp(2 * (conditional.log_scale - unconditional.log_scale)).clamp(max=1.0)
    d = 1 + weight - weight * s
    shift = ((1 + weight) * conditional.shift - weight * s * unconditional.shift) / d
    return Affine(shift=shift, log_scale=conditional.log_scale - 0.5 * torch.log(d))


def log_scale(
    conditional: Affine,
    unconditional: Affine,
    weight: float | Tensor,
    what: Literal["both", "scale", "shift"],
) -> Affine:
    """``v_c + w (v_c - v_u)`` on log-scale, shift or both (TarFlow); the log-scale is held in its range."""
    shift, scale = conditional
    if what != "scale":
        shift = shift + weight * (shift - unconditional.shift)
    if what != "shift":
        scale = (scale + weight * (scale - unconditional.log_scale)).clamp(-LARGEST, LARGEST)
    return Affine(shift=shift, log_scale=scale)
