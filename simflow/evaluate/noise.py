"""Whether a flow's noise is standard normal, number by number.

A trained flow should turn latents into independent standard normal numbers. For each of the ``n d`` numbers
of the noise, over images, take mean, variance and excess kurtosis (the fourth central moment over the squared
variance, minus 3). For ``m`` independent standard normal draws their errors are about

    mean ~ 1 / sqrt(m),    variance ~ sqrt(2 / m),    excess kurtosis ~ sqrt(24 / m),

so each deviation can be told in standard errors. The root mean square of those over the numbers is near 1
for standard normal noise, whatever ``m``, and grows with any misfit. It does not see dependence between
numbers.
"""

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from simflow.shapes import Tokens


@dataclass(frozen=True, kw_only=True)
class NoiseMoments:
    """Moments over images of each number of the noise, float64 ``(n, d)``."""

    mean: Float[Tensor, "n d"]
    variance: Float[Tensor, "n d"]
    excess_kurtosis: Float[Tensor, "n d"]
    images: int

    def deviations(self) -> tuple[Tensor, Tensor, Tensor]:
        """How far mean, variance and excess kurtosis are from a standard normal's, in standard errors, ``(n, d)``."""
        m = self.images
        return (
            self.mean * math.sqrt(m),
            (self.variance - 1) * math.sqrt(m / 2),
            self.excess_kurtosis * math.sqrt(m / 24),
        )


@dataclass(frozen=True, kw_only=True)
class Normality:
    """Root mean square deviation from a standard normal, in standard errors; about 1 means none is seen."""

    mean: float
    variance: float
    excess_kurtosis: float


def noise_moments(noise: Tokens) -> NoiseMoments:
    """Moments of ``noise`` ``(b, n, d)``; the variance is the unbiased one.

    Raises:
        ValueError: there are fewer than two images.
    """
    if len(noise) < 2:
        raise ValueError("moments of noise need at least two images")
    z = noise.cpu().double()
    mean = z.mean(dim=0)
    centred = z - mean
    second = centred.square().mean(dim=0)
    return NoiseMoments(
        mean=mean,
        variance=centred.square().sum(dim=0) / (len(z) - 1),
        excess_kurtosis=centred.pow(4).mean(dim=0) / second.square() - 3,
        images=len(z),
    )


def normality(moments: NoiseMoments) -> Normality:
    """The summary over all numbers."""
    mean, variance, kurtosis = map(_rms, moments.deviations())
    return Normality(mean=mean, variance=variance, excess_kurtosis=kurtosis)


def _rms(values: Tensor) -> float:
    return math.sqrt(values.square().mean().item())
