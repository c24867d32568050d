"""Representation alignment: hidden tokens of the prior should say what a trained network sees (REPA, REPA-E).

A three-layer MLP projects the hidden tokens of one layer of the prior, and its outputs are compared with the
features that a frozen encoder of images gives at the same places (SimFlow, section 4.2 and appendix B)::

    loss = mean over tokens of 1 - cos(projector(hidden), features)

The projector learns, the encoder does not. Where nothing is detached on the way from the image to the hidden tokens,
the loss moves the autoencoder too: REPA becomes REPA-E. The hidden tokens come in raster order, whatever the order
of the block. Cosines are taken in float32, for in half precision they can be NaN.

The paper aligns "layer 1 at the block 3"; both are counted from one here, which the paper does not say.
"""

from dataclasses import dataclass, field

import torch
from einops import rearrange
from torch import nn
from torch.nn import functional as F

from simflow.bounds import at_least, not_negative
from simflow.losses.vit import DinoV2, FeatureMap
from simflow.prior import Align, Hidden
from simflow.shapes import Images, PerImage, Tokens


@dataclass(frozen=True, kw_only=True)
class AlignmentConfig:
    """Which hidden tokens are aligned with what. The defaults are the paper's."""

    weight: float = 1.0
    """Weight in the loss."""
    block: int = 3
    """Block of the prior, counted from 1 at the data (Figure 8 compares the first, a middle and the last)."""
    layer: int = 1
    """Layer of the block after which the tokens are taken, counted from 1."""
    hidden: int = 2048
    """Width of the projector's two hidden layers."""
    encoder: DinoV2 = field(default_factory=DinoV2)
    """The network that the tokens are aligned with."""

    def __post_init__(self) -> None:
        not_negative(self, "objective.alignment", "weight")
        at_least(1, self, "objective.alignment", "hidden")

    @property
    def where(self) -> Align:
        """The hidden tokens as a prior is asked for them."""
        return Align(block=self.block, layer=self.layer)

    def build(self, *, width: int, grid: tuple[int, int]) -> "Alignment":
        """The loss for hidden tokens ``(b, n, width)`` on a grid of ``(rows, columns)``.

        Raises:
            ValueError: the encoder's weights are not to be had.
        """
        return Alignment(self, width=width, grid=grid)


class Projector(nn.Sequential):
    """Hidden tokens ``(b, n, width)`` -> ``(b, n, features)``: three linear layers with SiLU between them."""

    def __init__(self, *, width: int, hidden: int, features: int) -> None:
        super().__init__(
            nn.Linear(width, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, features),
        )


class Alignment(nn.Module):
    """The encoder, the projector and the distance between what they say."""

    def __init__(self, config: AlignmentConfig, *, width: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.config, self.grid = config, grid
        self.encoder = config.encoder.build("objective.alignment.encoder")
        self.projector = Projector(width=width, hidden=config.hidden, features=self.encoder.width)

    def forward(self, images: Images, hidden: Hidden) -> PerImage:
        """``1 - cos`` ``(b,)``, averaged over tokens: 0 where they agree, 1 where they have nothing in common.

        Args:
            images: in [-1, 1].
            hidden: hidden tokens of the prior in raster order, ``(b, n, width)``.
        """
        with torch.no_grad():
            seen = on_grid(self.encoder.features(images, self.grid), self.grid)
        said = self.projector(hidden)
        return (1 - F.cosine_similarity(said.float(), seen.float(), dim=-1)).mean(dim=1)


def on_grid(features: FeatureMap, grid: tuple[int, int]) -> Tokens:
    """Features as tokens ``(b, n, features)`` in raster order, interpolated to a grid of ``(rows, columns)``."""
    if tuple(features.shape[2:]) != grid:
        features = F.interpolate(features.float(), size=grid, mode="bilinear", antialias=True)
    return rearrange(features, "b d rows columns -> b (rows columns) d")
