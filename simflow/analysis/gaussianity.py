"""How close the noise of held-out latents is to a standard normal: quantiles beside quantiles.

Two normality plots come from the noise ``z`` ``(b, n, d)`` of ``b`` images.

*All numbers together.* The quantiles of all ``b n d`` numbers against those of a standard normal: on the diagonal
if the marginal law is right.

*Number by number.* Each of the ``n d`` numbers has a mean, a variance and an excess kurtosis over the images; in
standard errors (:mod:`simflow.evaluate.noise`) these are themselves about standard normal if ``z`` is. Their
quantiles against the normal ones show whether all numbers are right, which the first plot cannot: errors of
opposite sign cancel there.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from simflow.evaluate.noise import Normality, noise_moments, normality
from simflow.shapes import Tokens

REACH, POINTS = 3.0, 61
"""Plots run from minus to plus ``REACH`` standard deviations, in this many points."""


@dataclass(frozen=True, kw_only=True)
class Gaussianity:
    """What the plots show; all tuples have ``POINTS`` numbers."""

    images: int
    numbers: int
    """Numbers in the noise of one image."""
    normality: Normality
    """Root mean square deviations in standard errors; about 1 means none is seen."""
    expected: tuple[float, ...]
    """Quantiles of a standard normal."""
    pooled: tuple[float, ...]
    """Quantiles of all numbers of the noise."""
    means: tuple[float, ...]
    """Quantiles over the numbers of their means, in standard errors; so the next two."""
    variances: tuple[float, ...]
    kurtoses: tuple[float, ...]


def gaussianity(noise: Tokens) -> Gaussianity:
    """The record for noise ``(b, n, d)`` of at least two images.

    Raises:
        ValueError: there are fewer than two images.
    """
    moments = noise_moments(noise)
    expected = torch.linspace(-REACH, REACH, POINTS, dtype=torch.float64)
    probability = torch.special.ndtr(expected)
    means, variances, kurtoses = (_quantiles(each, probability) for each in moments.deviations())
    return Gaussianity(
        images=moments.images,
        numbers=noise[0].numel(),
        normality=normality(moments),
        expected=tuple(expected.tolist()),
        pooled=_quantiles(noise, probability),
        means=means,
        variances=variances,
        kurtoses=kurtoses,
    )


def _quantiles(values: Tensor, probability: Tensor) -> tuple[float, ...]:
    """NumPy's, for torch's refuse more than 16 million numbers."""
    flat = values.detach().cpu().double().flatten().numpy()
    return tuple(np.quantile(flat, probability.numpy()).tolist())
