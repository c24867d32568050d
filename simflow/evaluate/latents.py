"""What makes a latent space easy for an autoregressive flow: four statistics (SimFlow, Figure 4).

The paper names them and shows their values but gives no formulas; these are ours. Latents are
``(b, c, h, w)``; each function gives one number an image, in float64.

*Spectrum.* ``P(f)`` is the squared modulus of the 2-D discrete Fourier transform over the grid, summed over
channels; the zero frequency, which is the mean of the grid, is left out, and ``p = P / sum P``.

- :func:`spectral_entropy`: ``-sum p log p`` over the log of the number of frequencies. 1 if all frequencies
  are equally strong, 0 if there is only one. White noise of ``c`` channels has about
  ``1 - (digamma(c + 1) - log c) / log(h w - 1)``, which tends to 1 as ``c`` grows.
- :func:`high_frequency_ratio`: the share of ``p`` at radii above half the Nyquist frequency.

*Neighbours.*

- :func:`total_variation`: mean absolute difference of positions next to each other in a row or column, in
  units of the latents. Independent normal numbers have ``2 / sqrt(pi) = 1.13`` standard deviations.
- :func:`autocorrelation`: correlation of the token sequence, in raster order, with itself ``lag`` tokens on.
  Independent tokens have ``-1 / (h w - 1)`` in expectation, because the mean is the image's own.

A grid without variation has no spectrum and no correlation; it counts as perfectly simple: entropy 0, ratio 0,
variation 0, autocorrelation 1.
"""

import math
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from simflow.shapes import Latents, PerImage

FLAT = 1e-24
"""Variation below this share of the total power is rounding error."""


@dataclass(frozen=True, kw_only=True)
class LatentStatistics:
    """The statistics of Figure 4, means over images."""

    spectral_entropy: float
    high_frequency_ratio: float
    total_variation: float
    """In standard deviations of all numbers of all latents, so that spaces of different scale compare."""
    autocorrelation: float
    """At lag 1."""


def describe(latents: Latents) -> LatentStatistics:
    """All four statistics of a set of latents, which must not all be one number.

    Raises:
        ValueError: there is no latent, or fewer than three positions in a grid.
    """
    if len(latents) == 0 or latents[0, 0].numel() < 3:
        raise ValueError("latent statistics need at least one latent of at least three positions")
    return LatentStatistics(
        spectral_entropy=spectral_entropy(latents).mean().item(),
        high_frequency_ratio=high_frequency_ratio(latents).mean().item(),
        total_variation=(total_variation(latents).mean() / latents.double().std()).item(),
        autocorrelation=autocorrelation(latents).mean().item(),
    )


def spectral_entropy(latents: Latents) -> PerImage:
    """Evenness of the power over frequencies, in [0, 1]."""
    share = _spectrum(latents).flatten(1)
    return torch.special.entr(share).sum(dim=1) / math.log(share.shape[1] - 1)


def high_frequency_ratio(latents: Latents) -> PerImage:
    """Share of the power at frequencies whose radius exceeds 0.25 cycles a position (Nyquist: 0.5)."""
    share = _spectrum(latents)
    _, height, width = share.shape
    radius = torch.hypot(
        rearrange(torch.fft.fftfreq(height, dtype=torch.float64), "h -> h 1"),
        rearrange(torch.fft.fftfreq(width, dtype=torch.float64), "w -> 1 w"),
    )
    return (share * (radius > 0.25).to(share)).sum(dim=(1, 2))


def total_variation(latents: Latents) -> PerImage:
    """Mean of ``|x_here - x_next|`` over all pairs of neighbours in rows and in columns, and over channels."""
    x = latents.double()
    steps = [x.diff(dim=axis).abs().flatten(1) for axis in (2, 3)]
    return torch.cat(steps, dim=1).mean(dim=1)


def autocorrelation(latents: Latents, *, lag: int = 1) -> PerImage:
    """``mean_t <x_t - m, x_{t+lag} - m> / mean_t |x_t - m|^2``; ``m`` is the mean of the image's tokens.

    Args:
        latents: ``(b, c, h, w)``.
        lag: in tokens, ``1 .. h w - 1``.
    """
    tokens = rearrange(latents.double(), "b c h w -> b (h w) c")
    power = tokens.square().sum(dim=2).mean(dim=1)
    tokens = tokens - tokens.mean(dim=1, keepdim=True)
    spread = tokens.square().sum(dim=2).mean(dim=1)
    together = (tokens[:, :-lag] * tokens[:, lag:]).sum(dim=2).mean(dim=1)
    flat = spread <= FLAT * power
    return torch.where(flat, 1.0, together / torch.where(flat, 1.0, spread))


def _spectrum(latents: Tensor) -> Tensor:
    """``p`` of each image ``(b, h, w)``, zero at frequency zero; zero throughout for a grid without variation."""
    power = torch.fft.fft2(latents.double()).abs().square().sum(dim=1)
    total = power.sum(dim=(1, 2), keepdim=True)
    power[:, 0, 0] = 0
    varying = power.sum(dim=(1, 2), keepdim=True)
    flat = varying <= FLAT * total
    return torch.where(flat, 0.0, power / torch.where(flat, 1.0, varying))
