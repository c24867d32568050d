"""Labels, positions and numbers as vectors."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from simflow.shapes import Labels

NullClass = Literal["row", "mean"]


@dataclass(frozen=True, kw_only=True)
class PositionTable:
    """A learned vector for every position, added to the token that stands there."""

    std: float = 0.01
    """Standard deviation at initialisation."""

    def build(self, tokens: int, width: int) -> nn.Parameter:
        """The table ``(tokens, width)``."""
        return nn.Parameter(torch.randn(tokens, width) * self.std)


class ClassEmbedding(nn.Module):
    """Labels ``(b,)`` -> vectors ``(b, width)``; the null label (any negative number) means "no class".

    ``null="row"`` learns a vector for the null class (DiT); ``null="mean"`` takes the mean of all class
    vectors (TarFlow). One function serves both directions of the flow, so training and sampling agree.
    With no classes, every label means "no class".
    """

    def __init__(self, *, classes: int, width: int, null: NullClass, std: float) -> None:
        super().__init__()
        assert null == "row" or classes > 0, "the mean of no classes"
        self.classes, self.null = classes, null
        self.table = nn.Parameter(torch.randn(classes + (null == "row"), width) * std)

    def forward(self, labels: Labels) -> Tensor:
        if self.null == "row":
            return self.table[torch.where((labels < 0) | (self.classes == 0), self.classes, labels)]
        chosen = self.table[labels.clamp(min=0)]
        return torch.where((labels < 0)[:, None], self.table.mean(dim=0), chosen)


def sinusoids(times: Tensor, width: int, *, longest: float = 10_000.0) -> Tensor:
    """Sines and cosines ``(b, width)`` of times ``(b,)`` at geometrically spaced frequencies."""
    half = width // 2
    frequencies = torch.exp(
        -math.log(longest) * torch.arange(half, device=times.device, dtype=times.dtype) / half
    )
    angles = times[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)
