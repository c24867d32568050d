"""The elementwise step of every flow here: ``z = (x - shift) * exp(-log_scale)`` (SimFlow, Eq. 23).

A transformer gives two numbers for every number of a token, the log-scale first and then the shift (or the shift
alone, where volume is preserved); this file turns them into an :class:`Affine` and says how an affine map acts, is
undone and changes volume. It does not know where the parameters come from. All of it runs in float32 or wider, also
under autocast.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from simflow.shapes import LogDet, Tokens

Scale = Literal["exp", "softplus", "none"]
SOFTPLUS_ONE = 0.541324854612918
"""``log(e - 1)``: softplus of it is one, so an untrained softplus scale is the identity."""
LARGEST = 15.0
"""Log-scales are held in [-15, 15] in both directions and in the log-determinant, so exp never overflows."""


class Affine(NamedTuple):
    """Parameters of ``z = (x - shift) * exp(-log_scale)``; both ``(b, n, d)``."""

    shift: Tokens
    log_scale: Tokens

    def forward(self, x: Tokens) -> Tokens:
        """Data -> noise."""
        return (x - self.shift) * torch.exp(-self.log_scale)

    def inverse(self, z: Tokens) -> Tokens:
        """Noise -> data."""
        return z * torch.exp(self.log_scale) + self.shift

    def log_det(self) -> LogDet:
        """``log |det dz/dx|`` of each image: the true sum of ``-log_scale`` (Eq. 24)."""
        return -self.log_scale.sum(dim=(1, 2))


def outputs_for(channels: int, scale: Scale) -> int:
    """How many outputs a network owes to a token of ``channels`` numbers."""
    return channels if scale == "none" else 2 * channels


def from_outputs(outputs: Tokens, *, scale: Scale, clip: float | None) -> Affine:
    """Network outputs ``(b, n, 2 d)``, or ``(b, n, d)`` without a scale -> :class:`Affine`.

    Args:
        outputs: log-scale first, then shift (TarFlow's order); already in the dtype of the tokens.
        scale: ``"exp"``: the first half is the log-scale. ``"softplus"``: the scale is
            ``softplus(a + 0.5413)`` (STARFlow), its logarithm is taken stably. ``"none"``: the outputs are
            shifts, the scale is one (TarFlow's volume-preserving variant).
        clip: soft limit ``c * tanh(. / c)`` on all outputs (STARFlow uses 4), or None.
    """
    if clip is not None:
        outputs = clip * torch.tanh(outputs / clip)
    if scale == "none":
        return Affine(shift=outputs, log_scale=torch.zeros_like(outputs))
    raw, shift = outputs.chunk(2, dim=-1)
    log_scale = raw if scale == "exp" else log_softplus(raw + SOFTPLUS_ONE)
    return Affine(shift=shift, log_scale=log_scale.clamp(-LARGEST, LARGEST))


def log_softplus(a: Tensor) -> Tensor:
    """``log(softplus(a))``, held above ``-LARGEST - 1``: further down, softplus is zero and the gradient is NaN."""
    return torch.log(F.softplus(a.clamp(min=-LARGEST - 1)))
