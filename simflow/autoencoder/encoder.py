"""Images -> features at the code's resolution: a column of levels, each half the side of the one above.

Level ``L`` has ``width * multipliers[L]`` channels and ``blocks`` residual blocks, and ends with a
downsampling unless it is the last; then come the middle and one convolution to the code's channels. The
encoder of LDM (Rombach et al. 2022) as MAR (Li et al. 2024) sets it up. It knows no moments.
"""

from collections.abc import Sequence
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from simflow.nn.conv import Downsample, Middle, ResidualBlock, SpatialAttention, group_norm, norm_silu, run
from simflow.shapes import Code, Images


class DownLevel(nn.Module):
    """Residual blocks, each followed by attention if asked, then the downsampling if there is one."""

    def __init__(
        self, channels: int, out_channels: int, *, blocks: int, attention: bool, downsample: bool
    ) -> None:
        super().__init__()
        widths = [channels] + [out_channels] * blocks
        self.block = nn.ModuleList(ResidualBlock(before, after) for before, after in pairwise(widths))
        self.attn = nn.ModuleList(
            SpatialAttention(out_channels) if attention else nn.Identity() for _ in range(blocks)
        )
        self.downsample = Downsample(out_channels) if downsample else nn.Identity()

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b out h2 w2"]:
        for block, attention in zip(self.block, self.attn, strict=True):
            x = attention(block(x))
        return self.downsample(x)


class Encoder(nn.Module):
    """Images ``(b, image_channels, height, width)`` -> ``(b, out_channels, h, w)``.

    ``attention`` puts an attention after every block of the lowest level; ``checkpointing`` recomputes each
    level in the backward pass.
    """

    def __init__(
        self,
        *,
        image_channels: int,
        width: int,
        multipliers: Sequence[int],
        blocks: int,
        attention: bool,
        out_channels: int,
        checkpointing: bool,
    ) -> None:
        super().__init__()
        self.checkpointing = checkpointing
        widths = [width * multiplier for multiplier in (1, *multipliers)]
        last = len(multipliers) - 1
        self.conv_in = nn.Conv2d(image_channels, width, 3, padding=1)
        self.down = nn.ModuleList(
            DownLevel(
                before, after, blocks=blocks, attention=attention and level == last, downsample=level < last
            )
            for level, (before, after) in enumerate(pairwise(widths))
        )
        self.mid = Middle(widths[-1])
        self.norm_out = group_norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], out_channels, 3, padding=1)

    def forward(self, images: Images) -> Code:
        x = self.conv_in(images)
        for stage in (*self.down, self.mid):
            x = run(stage, x, checkpointing=self.checkpointing)
        return self.conv_out(norm_silu(self.norm_out, x))
