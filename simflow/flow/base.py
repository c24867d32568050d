"""The base distribution: what the noise at the end of a chain of blocks is.

A base turns the chain's outputs ``u`` into standard normal noise ``z``, so whoever samples always begins with the
same noise, and ``log p(x) = log N(z; 0, 1) + log_det`` holds for every flow:

- :class:`StandardNormal`: ``u`` is the noise. Blocks that scale need nothing else.
- :class:`FittedNormal`: ``z = u / std``, one standard deviation for each number of each token. Volume-preserving
  blocks (TarFlow's variant with shifts only) cannot make all numbers alike in spread, so the base must learn it.

The fit follows TarFlow: training minimises ``u^2 / 2`` as if the variance were one, and the variance is a running
mean of ``u^2`` over batches, beside the gradient. A base observes as often as it is shown something, and settles once
a step: how a batch is cut into pieces, and divided among processes, changes nothing.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from simflow.shapes import LogDet, Tokens


class Base(nn.Module, ABC):
    """Chain outputs <-> standard normal noise.

    To write one: a frozen keyword-only config with ``build(noise_shape)`` and a class with the four methods.
    """

    @abstractmethod
    def forward(self, u: Tokens) -> tuple[Tokens, LogDet]:
        """Chain outputs ``(b, n, d)`` -> standard normal noise, and ``log |det dz/du|`` ``(b,)``."""

    @abstractmethod
    def inverse(self, z: Tokens) -> Tokens:
        """Standard normal noise -> chain outputs."""

    @abstractmethod
    def observe(self, u: Tokens) -> None:
        """Sees training outputs, from which to fit what is not learned by gradient."""

    @abstractmethod
    def settle(self, average: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Fits to what was observed since the last call; ``average`` is the mean of a tensor over all processes."""


@dataclass(frozen=True, kw_only=True)
class StandardNormal:
    """Independent numbers of mean zero and variance one."""

    def build(self, noise_shape: tuple[int, int]) -> Base:
        """The base for noise of ``(tokens, channels)``."""
        return Unchanged()


@dataclass(frozen=True, kw_only=True)
class FittedNormal:
    """Independent numbers of mean zero, each with its own variance fitted in training (TarFlow without scales)."""

    rate: float = 0.1
    """Weight of a new batch in the running mean of squares."""

    def build(self, noise_shape: tuple[int, int]) -> Base:
        """The base for noise of ``(tokens, channels)``, with variance one at first."""
        return Scaled(noise_shape, rate=self.rate)


class Unchanged(Base):
    """``z = u``."""

    def forward(self, u: Tokens) -> tuple[Tokens, LogDet]:
        return u, u.new_zeros(u.shape[0])

    def inverse(self, z: Tokens) -> Tokens:
        return z

    def observe(self, u: Tokens) -> None:
        pass

    def settle(self, average: Callable[[torch.Tensor], torch.Tensor]) -> None:
        pass


class Scaled(Base):
    """``z = u / std`` with the running variance, ``(tokens, channels)``."""

    variance: torch.Tensor
    seen: torch.Tensor
    """Sums of squares of what was observed, and behind them the number of images."""

    def __init__(self, noise_shape: tuple[int, int], *, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.register_buffer("variance", torch.ones(noise_shape))
        self.register_buffer("seen", torch.zeros(self.variance.numel() + 1), persistent=False)

    def forward(self, u: Tokens) -> tuple[Tokens, LogDet]:
        log_det = -0.5 * torch.log(self.variance).sum()
        return u * torch.rsqrt(self.variance), log_det.expand(u.shape[0])

    def inverse(self, z: Tokens) -> Tokens:
        return z * torch.sqrt(self.variance)

    @torch.no_grad()
    def observe(self, u: Tokens) -> None:
        self.seen[:-1] += u.square().sum(dim=0).flatten()
        self.seen[-1] += len(u)

    @torch.no_grad()
    def settle(self, average: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Numbers whose squares are not finite, and all of them if nothing was observed, stay as they are."""
        seen = average(self.seen)
        mean = (seen[:-1] / seen[-1]).view_as(self.variance)
        moved = self.variance.lerp(mean, self.rate)
        self.variance.copy_(torch.where(mean.isfinite(), moved, self.variance))
        self.seen.zero_()
