"""The second slot: code -> a distribution over latents.

A posterior draws latents from the encoder's code and says how much entropy the draw has. The two quantities
complete the ELBO: ``log p(image) >= E[log p(image|x)] + E[log p(x)] + H[q(x|image)]`` (SimFlow, Eq. 19).
With a fixed variance the entropy is a constant: :class:`FixedVariance` has no parameters, and that is the paper.

``floor`` is the least mean prior energy per number that is possible: noise of standard deviation ``s`` has
cross-entropy at least its own entropy, ``log s + 1/2`` once the ``1/2 log 2 pi`` is left out. An NF loss near the
floor means that the latents carry nothing but their noise: collapse.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from simflow.shapes import Code, Latents, PerImage

HALF_LOG_TWO_PI_E = 0.5 * math.log(2 * math.pi * math.e)


class Posterior(ABC):
    """Code -> latents.

    To write one: a frozen keyword-only dataclass with ``moments`` (1: the code is a mean; 2: mean and
    log-variance), ``sample``, ``entropy`` and ``floor``.
    """

    moments: ClassVar[int] = 1

    @abstractmethod
    def sample(self, code: Code, generator: Generator) -> Latents:
        """Latents ``(b, c, h, w)`` in float32 or wider."""

    @abstractmethod
    def entropy(self, code: Code) -> PerImage:
        """Entropy in nats of the draw of each image, a true sum."""

    @property
    @abstractmethod
    def floor(self) -> float | None:
        """Least mean prior energy per latent number, in nats; None if there is none."""


def wide(code: Tensor) -> Tensor:
    """The code in float32 or wider: what latents are made of, also under autocast."""
    return code.float() if code.dtype in (torch.bfloat16, torch.float16) else code


def noise_like(x: Tensor, generator: Generator) -> Tensor:
    """Standard normal noise of the shape, dtype and device of ``x``."""
    return torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)


@dataclass(frozen=True, kw_only=True)
class FixedVariance(Posterior):
    """``x = mean + std * noise``: the variance is a constant that nothing learns (SimFlow, section 4.1).

    On pixels, or on the code of a frozen encoder, the same rule is the Gaussian noise augmentation of TarFlow and
    STARFlow: what learns from the noisy latents differs, not the noise.
    """

    std: float = 0.5
    """Standard deviation; the paper's variance is ``0.5**2``. TarFlow has 0.05 to 0.15 on pixels, STARFlow 0.3."""

    def sample(self, code: Code, generator: Generator) -> Latents:
        mean = wide(code)
        return mean + self.std * noise_like(mean, generator)

    def entropy(self, code: Code) -> PerImage:
        """Eq. 34: a constant."""
        return torch.full(
            (code.shape[0],), code[0].numel() * (math.log(self.std) + HALF_LOG_TWO_PI_E), device=code.device
        )

    @property
    def floor(self) -> float:
        return math.log(self.std) + 0.5


@dataclass(frozen=True, kw_only=True)
class LearnedVariance(Posterior):
    """``x = mean + exp(log_variance / 2) * noise``, both from the encoder: the usual VAE (SimFlow, Eq. 5)."""

    moments: ClassVar[int] = 2

    def split(self, code: Code) -> tuple[Tensor, Tensor]:
        """Mean and log-variance, the latter held in [-30, 20]."""
        mean, log_variance = wide(code).chunk(2, dim=1)
        return mean, log_variance.clamp(-30.0, 20.0)

    def sample(self, code: Code, generator: Generator) -> Latents:
        mean, log_variance = self.split(code)
        return mean + torch.exp(0.5 * log_variance) * noise_like(mean, generator)

    def entropy(self, code: Code) -> PerImage:
        """Eq. 29 with the expectation taken: ``sum(log sigma + 1/2 log(2 pi e))``."""
        _, log_variance = self.split(code)
        return (0.5 * log_variance + HALF_LOG_TWO_PI_E).sum(dim=(1, 2, 3))

    @property
    def floor(self) -> None:
        return None


@dataclass(frozen=True, kw_only=True)
class Dequantised(Posterior):
    """``x = 2 (level + uniform) / 256 - 1`` on 8-bit images: the density of ``x`` is then a bound on the probability
    of the image (Theis et al. 2016), as in TarFlow's likelihood runs.

    Grey level ``k``, which :mod:`simflow.pixels` puts at ``2 k / 255 - 1``, becomes a draw from its own bin of width
    ``2 / 256``; the bins fill [-1, 1]. The image is told by its bin without loss, so nothing is lost in the decoder
    and ``log P(image) >= E[log p(x)] + H`` in nats, H being the constant ``-log 128`` a number.
    """

    def sample(self, code: Code, generator: Generator) -> Latents:
        """``code`` holds images on the 8-bit grid of [-1, 1], not features."""
        image = wide(code)
        uniform = torch.rand(image.shape, generator=generator, dtype=image.dtype, device=image.device)
        return (127.5 * (image + 1) + uniform) / 128 - 1

    def entropy(self, code: Code) -> PerImage:
        """``log(2 / 256)`` a number."""
        return torch.full((code.shape[0],), -math.log(128) * code[0].numel(), device=code.device)

    @property
    def floor(self) -> float:
        """Reached only by a flow that knew every grey level: zero bits a dimension."""
        return -math.log(128) - 0.5 * math.log(2 * math.pi)


@dataclass(frozen=True, kw_only=True)
class NoNoise(Posterior):
    """``x = mean``: no perturbation. Trained end to end it collapses (SimFlow, Table 6)."""

    def sample(self, code: Code, generator: Generator) -> Latents:
        return wide(code)

    def entropy(self, code: Code) -> PerImage:
        """Zero by convention: a point has no density, so the ELBO of this posterior is not a bound."""
        return torch.zeros(code.shape[0], device=code.device)

    @property
    def floor(self) -> None:
        return None
