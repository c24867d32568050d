"""The fourth slot: what the score does to a sampled latent before it is decoded.

Two refinements, each one gradient step on the exact log density of a flow:

- :class:`GuidedScoreStep` (SimFlow, Eq. 6): ``x + gamma (grad log p(x|c) - grad log p(x))`` through the whole
  flow, after sampling with STARFlow's guidance;
- :class:`ScoreDenoise` (TarFlow): ``x + std^2 grad log p(x|c)``, Tweedie's estimate of the clean sample of a flow
  that was trained on data with Gaussian noise of that standard deviation.

The density is the un-normalised one of a single image, a true sum over its numbers, so the step does not depend
on the batch. Parameters receive no gradient.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from simflow.shapes import NULL, Labels, Latents

LogProb = Callable[[Latents, Labels], Tensor]


@dataclass(frozen=True, kw_only=True)
class GuidedScoreStep:
    """One step along the difference of the conditional and the unconditional score (SimFlow, Eq. 6)."""

    gamma: float = 0.25
    """Step size; the paper's is 0.25."""

    def refine(self, log_prob: LogProb, latents: Latents, labels: Labels) -> Latents:
        """Sampled latents -> refined latents, same shape."""
        dropped = torch.full_like(labels, NULL)
        difference = score(log_prob, latents, labels) - score(log_prob, latents, dropped)
        return latents + self.gamma * difference


@dataclass(frozen=True, kw_only=True)
class ScoreDenoise:
    """One step to the posterior mean of the clean sample (TarFlow)."""

    std: float
    """Standard deviation of the noise that the flow was trained with."""
    multiplier: float = 1.0
    """Factor on the step; 0.9 to 1.4 was best by data set in TarFlow's runs."""

    def refine(self, log_prob: LogProb, latents: Latents, labels: Labels) -> Latents:
        """Noisy latents -> denoised latents, same shape."""
        return latents + self.multiplier * self.std**2 * score(log_prob, latents, labels)


Refinement = GuidedScoreStep | ScoreDenoise


def score(log_prob: LogProb, latents: Latents, labels: Labels) -> Latents:
    """``grad_x log p(x|labels)`` of each image; detached."""
    with torch.enable_grad():
        x = latents.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(log_prob(x, labels).sum(), x)
    return gradient
