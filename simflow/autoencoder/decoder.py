"""Latents -> images: the encoder's column walked upwards, with one more residual block a level.

Level ``L`` of ``up`` has the resolution and the width of level ``L`` of the encoder's ``down``, so the walk
goes from the last level to the first, and every level but the first ends with an upsampling. The decoder of
LDM (Rombach et al. 2022); the output is not clamped.
"""

from collections.abc import Sequence
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from simflow.nn.conv import Middle, ResidualBlock, SpatialAttention, Upsample, group_norm, norm_silu, run
from simflow.shapes import Images, Latents


class UpLevel(nn.Module):
    """Residual blocks, each followed by attention if asked, then the upsampling if there is one."""

    def __init__(
        self, channels: int, out_channels: int, *, blocks: int, attention: bool, upsample: bool
    ) -> None:
        super().__init__()
        widths = [channels] + [out_channels] * blocks
        self.block = nn.ModuleList(ResidualBlock(before, after) for before, after in pairwise(widths))
        self.attn = nn.ModuleList(
            SpatialAttention(out_channels) if attention else nn.Identity() for _ in range(blocks)
        )
        self.upsample = Upsample(out_channels) if upsample else nn.Identity()

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b out h2 w2"]:
        for block, attention in zip(self.block, self.attn, strict=True):
            x = attention(block(x))
        return self.upsample(x)


class Decoder(nn.Module):
    """Latents ``(b, latent_channels, h, w)`` -> images ``(b, image_channels, height, width)``.

    ``blocks`` counts residual blocks a level; ``attention`` and ``checkpointing`` as in the encoder.
    """

    def __init__(
        self,
        *,
        image_channels: int,
        width: int,
        multipliers: Sequence[int],
        blocks: int,
        attention: bool,
        latent_channels: int,
        checkpointing: bool,
    ) -> None:
        super().__init__()
        self.checkpointing = checkpointing
        widths = [width * multiplier for multiplier in (*multipliers, multipliers[-1])]
        last = len(multipliers) - 1
        self.conv_in = nn.Conv2d(latent_channels, widths[-1], 3, padding=1)
        self.mid = Middle(widths[-1])
        self.up = nn.ModuleList(
            UpLevel(before, after, blocks=blocks, attention=attention and level == last, upsample=level > 0)
            for level, (after, before) in enumerate(pairwise(widths))
        )
        self.norm_out = group_norm(widths[0])
        self.conv_out = nn.Conv2d(widths[0], image_channels, 3, padding=1)

    def forward(self, latents: Latents) -> Images:
        x = self.conv_in(latents)
        for stage in (self.mid, *reversed(self.up)):
            x = run(stage, x, checkpointing=self.checkpointing)
        return self.conv_out(norm_silu(self.norm_out, x))
