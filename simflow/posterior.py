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
    log-variance), ``sample``, ``mean``, ``entropy`` and ``floor``; and where they are other than most, ``noisy``,
    ``lossless`` and ``noise_std``.
    """

    moments: ClassVar[int] = 1
    noisy: ClassVar[bool] = True
    """Whether a draw has a density, and so an entropy; without, the ELBO is no bound."""
    lossless: ClassVar[bool] = False
    """Whether a draw tells the 8-bit image exactly, so that nothing is lost in the decoder."""

    @abstractmethod
    def mean(self, code: Code) -> Latents:
        """The mean of the draw, in float32 or wider."""

    @abstractmethod
    def sample(self, code: Code, generator: Generator) -> Latents:
        """Latents ``(b, c, h, w)`` in float32 or wider."""

    def to_decoder(self, latents: Latents) -> Latents:
        """What the decoder is given: the latents, unless drawing moved them from the code by more than noise."""
        return latents

    @abstractmethod
    def entropy(self, code: Code) -> PerImage:
        """Entropy in nats of the draw of each image, a true sum."""

    @property
    @abstractmethod
    def floor(self) -> float | None:
        """Least mean prior energy per latent number, in nats; None if there is none."""

    @property
    def noise_std(self) -> float | None:
        """Standard deviation of the noise where it is Gaussian and the same for all numbers, which is what a score step
        can clean; None if it is not."""
        return None


def wide(code: Tensor) -> Tensor:
    """The code in float32 or wider: what latents are made of, also under autocast."""
    return code.float() if code.dtype in (torch.bfloat16, torch.float16) else code


def noise_like(x: Tensor, generator: Generator) -> Tensor:
    """Standard normal noise of the shape, dtype and device of ``x``, drawn where the generator is."""
    return torch.randn(x.shape, generator=generator, dtype=x.dtype, device=generator.device).to(x.device)


def uniform_like(x: Tensor, generator: Generator) -> Tensor:
    """Uniform numbers in [0, 1) of the shape, dtype and device of ``x``, drawn where the generator is."""
    return torch.rand(x.shape, generator=generator, dtype=x.dtype, device=generator.device).to(x.device)


@dataclass(frozen=True, kw_only=True)
class FixedVariance(Posterior):
    """``x = mean + std * noise``: the variance is a constant that nothing learns (SimFlow, section 4.1).

    On pixels, or on the code of a frozen encoder, the same rule is the Gaussian noise augmentation of TarFlow and
    STARFlow: what learns from the noisy latents differs, not the noise.
    """

    std: float = 0.5
    """Standard deviation; the paper's variance is ``0.5**2``. TarFlow has 0.05 to 0.15 on pixels, STARFlow 0.3."""

    def __post_init__(self) -> None:
        if not 0 < self.std < math.inf:
            raise ValueError(f"the standard deviation of the posterior must be positive, not {self.std}")

    def mean(self, code: Code) -> Latents:
        return wide(code)

    def sample(self, code: Code, generator: Generator) -> Latents:
        mean = self.mean(code)
        return mean + self.std * noise_like(mean, generator)

    def entropy(self, code: Code) -> PerImage:
        """Eq. 34: a constant."""
        return torch.full(
            (code.shape[0],), code[0].numel() * (math.log(self.std) + HALF_LOG_TWO_PI_E), device=code.device
        )

    @property
    def floor(self) -> float:
        return math.log(self.std) + 0.5

    @property
    def noise_std(self) -> float:
        return self.std


@dataclass(frozen=True, kw_only=True)
class LearnedVariance(Posterior):
    """``x = mean + exp(log_variance / 2) * noise``, both from the encoder: the usual VAE (SimFlow, Eq. 5).

    With ``added`` noise the draw is augmented as STARFlow augments it: variances add, so it is again a Gaussian.
    """

    added: float = 0.0
    """Standard deviation of noise added to the draw (STARFlow: 0.3), or 0 for none."""

    moments: ClassVar[int] = 2

    def __post_init__(self) -> None:
        if self.added < 0:
            raise ValueError(f"the added noise cannot have a standard deviation of {self.added}")

    def split(self, code: Code) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the draw; what the encoder says of the latter is held in [-30, 20]."""
        mean, log_variance = wide(code).chunk(2, dim=1)
        log_variance = log_variance.clamp(-30.0, 20.0)
        if self.added:
            log_variance = torch.logaddexp(
                log_variance, torch.full_like(log_variance, 2 * math.log(self.added))
            )
        return mean, log_variance

    def mean(self, code: Code) -> Latents:
        return self.split(code)[0]

    def sample(self, code: Code, generator: Generator) -> Latents:
        mean, log_variance = self.split(code)
        return mean + torch.exp(0.5 * log_variance) * noise_like(mean, generator)

    def entropy(self, code: Code) -> PerImage:
        """Eq. 29 with the expectation taken: ``sum(log sigma + 1/2 log(2 pi e))``."""
        _, log_variance = self.split(code)
        return (0.5 * log_variance + HALF_LOG_TWO_PI_E).sum(dim=(1, 2, 3))

    @property
    def floor(self) -> float | None:
        """That of the added noise; without any, the encoder may shrink its variance as it likes."""
        return math.log(self.added) + 0.5 if self.added else None


@dataclass(frozen=True, kw_only=True)
class Mixed(Posterior):
    """A draw that mixes mean and noise by an amount ``t``, drawn for each image from [``low``, ``high``].

    Given ``t`` the draw is Gaussian with some standard deviation ``s(t)``. ``entropy`` and ``floor`` take the mean
    of ``log s(t)`` over ``t``. It is exact where ``t`` is fixed (``low == high``). Where it is drawn it is a lower
    bound, hence so is the ELBO, and a tight one: a latent of many numbers shows its own ``t``.
    """

    low: float
    """Least ``t``; 0 is noise alone."""
    high: float
    """Greatest ``t``; 1 is the mean alone."""

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high <= 1 or self.low == 1:
            raise ValueError(
                f"t runs from low to high within [0, 1] and is not always 1, so not from {self.low} to {self.high}"
            )

    @abstractmethod
    def spread(self, t: Tensor) -> Tensor:
        """Standard deviation of the noise at ``t``."""

    @property
    @abstractmethod
    def mean_log_spread(self) -> float:
        """``log`` of :meth:`spread`, averaged over ``t``."""

    def mean(self, code: Code) -> Latents:
        """``E[t]`` times what the encoder says."""
        return 0.5 * (self.low + self.high) * wide(code)

    def sample(self, code: Code, generator: Generator) -> Latents:
        mean = wide(code)
        uniform = uniform_like(mean[:, :1, :1, :1], generator)
        t = self.low + (self.high - self.low) * uniform
        return t * mean + self.spread(t) * noise_like(mean, generator)

    def entropy(self, code: Code) -> PerImage:
        """A constant; see the class."""
        return torch.full(
            (code.shape[0],), code[0].numel() * (self.mean_log_spread + HALF_LOG_TWO_PI_E), device=code.device
        )

    @property
    def floor(self) -> float:
        return self.mean_log_spread + 0.5


@dataclass(frozen=True, kw_only=True)
class Linear(Mixed):
    """``x = t mean + (1 - t) noise`` (SimFlow, Table 6).

    The paper does not say what ``t`` is. The work that it cites draws it for every image, uniformly from [0, 1]
    (l-DeTok, Yang et al. 2025, there with noise of its own strength), and so do we.
    """

    low: float = 0.0
    """Least ``t``; 0 is noise alone."""
    high: float = 1.0
    """Greatest ``t``; 1 is the mean alone."""

    def spread(self, t: Tensor) -> Tensor:
        return 1 - t

    @property
    def mean_log_spread(self) -> float:
        """The mean of ``log u`` over an interval is the difference of ``u log u`` over its length, less 1."""
        if self.low == self.high:
            return math.log(1 - self.low)
        least, most = 1 - self.high, 1 - self.low
        return (x_log_x(most) - x_log_x(least)) / (most - least) - 1


@dataclass(frozen=True, kw_only=True)
class Slerp(Mixed):
    """``x = t mean + sqrt(1 - t^2) noise``, which keeps the variance of unit latents (SimFlow, Table 6).

    The paper does not say what ``t`` is; a fixed 0.7 keeps about half of the variance for the image (as
    Meshchaninov et al. 2025, who are cited, do for text).
    """

    low: float = 0.7
    """Least ``t``; 0 is noise alone."""
    high: float = 0.7
    """Greatest ``t``; 1 is the mean alone."""

    def spread(self, t: Tensor) -> Tensor:
        return torch.sqrt(1 - t * t)

    @property
    def mean_log_spread(self) -> float:
        """``log sqrt(1 - t^2) = (log(1 - t) + log(1 + t)) / 2``, integrated over ``t``."""
        if self.low == self.high:
            return 0.5 * math.log(1 - self.low**2)
        below = x_log_x(1 - self.low) - x_log_x(1 - self.high)
        above = x_log_x(1 + self.high) - x_log_x(1 + self.low)
        return 0.5 * (below + above) / (self.high - self.low) - 1


def x_log_x(x: float) -> float:
    """``x log x``, which is 0 at 0."""
    return x * math.log(x) if x else 0.0


@dataclass(frozen=True, kw_only=True)
class Dequantised(Posterior):
    """``x = 2 (level + uniform) / 256 - 1`` on 8-bit images: the density of ``x`` is then a bound on the probability
    of the image (Theis et al. 2016), as in TarFlow's likelihood runs.

    Grey level ``k``, which :mod:`simflow.pixels` puts at ``2 k / 255 - 1``, becomes a draw from its own bin of width
    ``2 / 256``; the bins fill [-1, 1]. The image is told by its bin without loss, so nothing is lost in the decoder
    and ``log P(image) >= E[log p(x)] + H`` in nats, H being the constant ``-log 128`` a number. What is decoded is
    rounded to the grey level of its bin when it becomes 8-bit.
    """

    lossless: ClassVar[bool] = True

    def mean(self, code: Code) -> Latents:
        """The middle of every bin."""
        return (127.5 * (wide(code) + 1) + 0.5) / 128 - 1

    def sample(self, code: Code, generator: Generator) -> Latents:
        """``code`` holds images on the 8-bit grid of [-1, 1], not features."""
        image = wide(code)
        uniform = uniform_like(image, generator)
        return (127.5 * (image + 1) + uniform) / 128 - 1

    def to_decoder(self, latents: Latents) -> Latents:
        """Undoes :meth:`mean`: the middles of the bins go to their grey levels, draws to within half a level."""
        return (128 * (latents + 1) - 0.5) / 127.5 - 1

    def entropy(self, code: Code) -> PerImage:
        """``log(2 / 256)`` a number."""
        return torch.full((code.shape[0],), -math.log(128) * code[0].numel(), device=code.device)

    @property
    def floor(self) -> float:
        """Reached only by a flow that knew every grey level: zero bits per dimension."""
        return -math.log(128) - 0.5 * math.log(2 * math.pi)


@dataclass(frozen=True, kw_only=True)
class NoNoise(Posterior):
    """``x = mean``: no perturbation. Trained end to end it collapses (SimFlow, Table 6)."""

    noisy: ClassVar[bool] = False

    def mean(self, code: Code) -> Latents:
        return wide(code)

    def sample(self, code: Code, generator: Generator) -> Latents:
        return wide(code)

    def entropy(self, code: Code) -> PerImage:
        """Zero by convention: a point has no density, so the ELBO of this posterior is not a bound."""
        return torch.zeros(code.shape[0], device=code.device)

    @property
    def floor(self) -> None:
        return None
