"""The convolutional parts of an image autoencoder: residual block, attention over positions, down, up.

Features ``(b, c, h, w)`` -> features. A residual block is ``x + conv(swish(norm(conv(swish(norm(x))))))``,
attention is one head over the ``h w`` positions, *down* halves the sides with a stride-2 convolution and *up*
doubles them by repeating pixels and convolving (Ho et al. 2020, appendix B; Rombach et al. 2022, LDM). All
work in any floating dtype and keep the channels_last memory format.

The attribute names (``norm1``, ``nin_shortcut``, ``proj_out`` ...) are LDM's, not ours: they are the keys of
the published weights, which :mod:`simflow.autoencoder.pretrained` reads without a dictionary of renamings.
"""

import math
from contextlib import AbstractContextManager, nullcontext

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint


def group_norm(channels: int) -> nn.GroupNorm:
    """GroupNorm in 32 groups, as in LDM, for the widths in use; in smaller groups of four when narrow.

    Below 64 channels, 32 groups would leave one channel in each. Normalising every channel alone over the
    image erases its mean, so a narrow autoencoder could not say how bright an image is; hence groups of four
    channels there, and of the greatest common divisor where 32 (or four) does not divide ``channels``.

    >>> [group_norm(channels).num_groups for channels in (512, 128, 64, 16, 6)]
    [32, 32, 32, 4, 1]
    """
    groups = math.gcd(channels, 32 if channels >= 64 else max(channels // 4, 1))
    return nn.GroupNorm(groups, channels, eps=1e-6)


def unwidened(x: Tensor) -> AbstractContextManager:
    """A block in which autocast leaves bfloat16 features as they are.

    By itself it normalises and repeats pixels in float32, which on a GPU moves more bytes than the convolutions do.
    """
    narrow = x.dtype in (torch.bfloat16, torch.float16)
    return torch.autocast(x.device.type, enabled=False) if narrow else nullcontext()


def norm_silu(norm: nn.GroupNorm, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """SiLU of the GroupNorm of features, in their own dtype; the kernel takes its means in float32 either way."""
    with unwidened(x):
        weight, bias = (part.to(x.dtype) for part in (norm.weight, norm.bias))
        return F.silu(F.group_norm(x, norm.num_groups, weight, bias, norm.eps))


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut, which is a 1x1 convolution where the width changes."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm1 = group_norm(channels)
        self.conv1 = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.norm2 = group_norm(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        same = channels == out_channels
        self.nin_shortcut = nn.Identity() if same else nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b out h w"]:
        hidden = self.conv1(norm_silu(self.norm1, x))
        hidden = self.conv2(norm_silu(self.norm2, hidden))
        return self.nin_shortcut(x) + hidden


class SpatialAttention(nn.Module):
    """Single-head attention among all positions, added to its input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = group_norm(channels)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        hidden = self.norm(x)
        query, key, value = (
            rearrange(part(hidden), "b c h w -> b 1 (h w) c") for part in (self.q, self.k, self.v)
        )
        mixed = F.scaled_dot_product_attention(query, key, value)
        return x + self.proj_out(rearrange(mixed, "b 1 (h w) c -> b c h w", h=x.shape[2]))


class Downsample(nn.Module):
    """Halves both sides; the zero padding is on the right and the bottom only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h//2 w//2"]:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Doubles both sides: nearest neighbour, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c 2*h 2*w"]:
        with unwidened(x):
            larger = F.interpolate(x, scale_factor=2.0, mode="nearest")
        return self.conv(larger)


class Middle(nn.Module):
    """The bottom of encoder and decoder: residual block, attention, residual block."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block_1 = ResidualBlock(channels, channels)
        self.attn_1 = SpatialAttention(channels)
        self.block_2 = ResidualBlock(channels, channels)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return self.block_2(self.attn_1(self.block_1(x)))


def run(stage: nn.Module, x: Tensor, *, checkpointing: bool) -> Tensor:
    """``stage(x)``; with ``checkpointing`` its activations are computed again in the backward pass."""
    if checkpointing and torch.is_grad_enabled():
        return checkpoint(stage, x, use_reentrant=False, preserve_rng_state=False)
    return stage(x)
