"""How well images survive noise on their latents: the curve of Figure 3a of the SimFlow paper.

A flow never gives latents exactly like the encoder's, so a decoder should forgive small errors. For the mean
``m`` of an image's latents and noise ``e`` from a standard normal, the image is reconstructed from

    m + level * s * e,        s = standard deviation of all numbers of all means about their own average,

and compared with the original. The paper does not say in which unit its noise grows; in units of ``s`` latent
spaces of different scale can be put in one plot. ``own_level`` is where the posterior's own noise lies: what the
decoder saw in training. The same ``e`` is used at every level and is drawn image by image, so a curve is smooth
and does not depend on the batch.

This file does not know models: it takes a decoder, which is any function from latents to images.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from simflow.analysis.picture import Picture
from simflow.evaluate.reconstruction import compare
from simflow.pixels import Bytes, to_uint8
from simflow.seeding import generator
from simflow.shapes import Images, Latents

Decoder = Callable[[Latents], Images]
"""Latents -> images, unclamped."""

LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
"""Noise levels of the curve unless others are asked for."""


@dataclass(frozen=True, kw_only=True)
class Robustness:
    """Reconstruction against latent noise; equally many of every tuple."""

    levels: tuple[float, ...]
    """Standard deviation of the noise, in standard deviations of the latent means."""
    scale: float
    """One standard deviation of the latent means, in their own unit."""
    own_level: float | None
    """Where the posterior's noise lies; None for a posterior without noise."""
    psnr: tuple[float | None, ...]
    """Mean over images in decibels; None where an image came back exactly."""
    ssim: tuple[float | None, ...]
    """Mean over images; None for images too small."""
    images: int


def scale_of(means: Latents) -> float:
    """The unit ``s`` of the levels.

    Raises:
        ValueError: all numbers of all latents are the same.
    """
    scale = means.cpu().double().std(correction=0).item()
    if scale == 0:
        raise ValueError("the latents do not vary, so there is no scale for noise on them")
    return scale


@torch.no_grad()
def robustness(
    decode: Decoder,
    means: Latents,
    originals: Bytes,
    *,
    levels: Sequence[float] = LEVELS,
    own_std: float = 0.0,
    seed: int = 0,
    batch: int = 100,
) -> Robustness:
    """The curve.

    Args:
        decode: latents -> images in about [-1, 1].
        means: latents ``(b, c, h, w)`` of the originals, without noise.
        originals: ``(b, channels, height, width)``.
        levels: of noise, at least one, none negative.
        own_std: standard deviation of the posterior's noise in the unit of the latents; 0 for none.
        seed: of the noise.
        batch: images decoded at once; it changes nothing else.

    Raises:
        ValueError: a level is negative, there is none, or the latents do not vary.
    """
    if not levels or min(levels) < 0:
        raise ValueError("noise levels must be given and must not be negative")
    scale = scale_of(means)
    made = [
        compare(originals, decoded(decode, noisy(means, level * scale, seed=seed), batch)) for level in levels
    ]
    return Robustness(
        levels=tuple(levels),
        scale=scale,
        own_level=own_std / scale if own_std else None,
        psnr=tuple(each.psnr if each.mse else None for each in made),
        ssim=tuple(each.ssim for each in made),
        images=len(originals),
    )


@torch.no_grad()
def strip(
    decode: Decoder, means: Latents, originals: Bytes, *, levels: Sequence[float], seed: int = 0
) -> Picture:
    """The images themselves: a row of originals, then a row for each level; arguments as above."""
    scale = scale_of(means)
    rows = [to_uint8(decode(noisy(means, level * scale, seed=seed))).cpu() for level in levels]
    captions = ("original", *(f"noise {level:g}" for level in levels))
    return Picture(captions=captions, images=torch.stack([originals.cpu(), *rows]))


def noisy(means: Latents, std: float, *, seed: int) -> Latents:
    """``means + std * e``, with noise of each image's place that is the same for every ``std``."""
    noise = [
        torch.randn(means.shape[1:], generator=generator("robustness", seed, place))
        for place in range(len(means))
    ]
    return means + std * torch.stack(noise).to(means)


def decoded(decode: Decoder, latents: Latents, batch: int) -> Bytes:
    """Images of latents as bytes on the CPU, ``batch`` at a time."""
    return torch.cat([to_uint8(decode(part).float()).cpu() for part in latents.split(batch)])
