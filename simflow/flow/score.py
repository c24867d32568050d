"""The fourth slot: what the score does to a sampled latent before it is decoded.

Two refinements, each one gradient step on the exact log density of a flow:

- :class:`GuidedScoreStep` (SimFlow, Eq. 6): ``x + gamma (grad log p(x|c) - grad log p(x))`` through the whole
  flow, after sampling with STARFlow's guidance;
- :class:`ScoreDenoise` (TarFlow): ``x + std^2 grad log p(x|c)``, Tweedie's estimate of the clean sample of a flow
  that was trained on data with Gaussian noise of that standard deviation.

The density is the un-normalised one of a single image, a true sum over its numbers, so the step does not depend
on the batch. Parameters receive no gradient, and none is computed for them: a score costs a forward and a backward
pass, each of the arithmetic of one forward pass, and Eq. 6 takes two scores, so about four passes (appendix C.3;
``python -m benchmarks guidance``).

A backward pass needs the activations of its forward pass, which for a deep flow is far more than sampling needs. So
images go through it ``chunk`` at a time, and the two scores of Eq. 6 one after the other: memory grows with the chunk
and not with the batch, and the result is the same up to rounding. Where a chunk of one image is still too large,
``BlockConfig.checkpointing`` keeps the inputs of layers only, for one more forward pass a score.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from simflow.bounds import not_negative, positive
from simflow.shapes import NULL, Labels, Latents

LogProb = Callable[[Latents, Labels], Tensor]

CHUNK = 32
"""Images that go through the backward pass at once unless another number is asked for."""


@dataclass(frozen=True, kw_only=True)
class GuidedScoreStep:
    """One step along the difference of the conditional and the unconditional score (SimFlow, Eq. 6)."""

    gamma: float = 0.25
    """Step size; the paper's is 0.25."""
    chunk: int = CHUNK
    """Images in a backward pass at once: memory grows with it, the result does not depend on it beyond rounding."""

    def __post_init__(self) -> None:
        check(self.chunk)
        not_negative(self, "sample.refinement", "gamma")

    @property
    def needs_classes(self) -> bool:
        """It does: without classes its two scores are one, and it moves nothing."""
        return True

    def refine(self, log_prob: LogProb, latents: Latents, labels: Labels) -> Latents:
        """Sampled latents -> refined latents, same shape."""
        dropped = torch.full_like(labels, NULL)
        known = score(log_prob, latents, labels, chunk=self.chunk)
        return latents + self.gamma * (known - score(log_prob, latents, dropped, chunk=self.chunk))


@dataclass(frozen=True, kw_only=True)
class ScoreDenoise:
    """One step to the posterior mean of the clean sample (TarFlow)."""

    std: float
    """Standard deviation of the noise that the flow was trained with."""
    multiplier: float = 1.0
    """Factor on the step; 0.9 to 1.4 was best by data set in TarFlow's runs."""
    chunk: int = CHUNK
    """Images in a backward pass at once: memory grows with it, the result does not depend on it beyond rounding."""

    def __post_init__(self) -> None:
        check(self.chunk)
        positive(self, "sample.refinement", "std")
        not_negative(self, "sample.refinement", "multiplier")

    @property
    def needs_classes(self) -> bool:
        """It does not."""
        return False

    def refine(self, log_prob: LogProb, latents: Latents, labels: Labels) -> Latents:
        """Noisy latents -> denoised latents, same shape."""
        return latents + self.multiplier * self.std**2 * score(log_prob, latents, labels, chunk=self.chunk)


Refinement = GuidedScoreStep | ScoreDenoise


def score(log_prob: LogProb, latents: Latents, labels: Labels, *, chunk: int = CHUNK) -> Latents:
    """``grad_x log p(x|labels)`` of each image; detached.

    Args:
        log_prob: the log density ``(b,)`` of latents ``(b, c, h, w)`` under labels ``(b,)``, each image for itself.
        latents: ``(b, c, h, w)``; not written to.
        labels: ``(b,)``; :data:`~simflow.shapes.NULL` for "no class".
        chunk: images in a backward pass at once, at least 1: memory grows with it, the result does not depend on it
            beyond rounding.

    Raises:
        ValueError: the chunk is less than 1.
    """
    check(chunk)
    parts = zip(latents.split(chunk), labels.split(chunk), strict=True)
    return torch.cat([slope(log_prob, *part) for part in parts])


def slope(log_prob: LogProb, latents: Latents, labels: Labels) -> Latents:
    """:func:`score`, of all images at once."""
    with torch.enable_grad():
        x = latents.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(log_prob(x, labels).sum(), x)
    return gradient


def check(chunk: int) -> None:
    """Refuses a chunk without images."""
    if chunk < 1:
        raise ValueError(f"the score needs chunks of at least 1 image, not {chunk}")
