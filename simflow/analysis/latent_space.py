"""The latents of a model in numbers: Figure 4 of the SimFlow paper, with something to read them by.

The four statistics (:mod:`simflow.evaluate.latents`) are taken of latents as the flow is given them, with the
posterior's noise; of their means, without it; and of white noise of the same shape, which is what latents that
carry nothing would give. The paper does not say which of the first two it shows.
"""

from dataclasses import dataclass

import torch

from simflow.analysis.robustness import scale_of
from simflow.evaluate.draws import draws_of
from simflow.evaluate.latents import LatentStatistics, describe
from simflow.model import Model
from simflow.pixels import Bytes, to_float
from simflow.seeding import generator
from simflow.shapes import Latents


@dataclass(frozen=True, kw_only=True)
class LatentSpace:
    """Statistics of one model's latents."""

    shape: tuple[int, int, int]
    """Channels, height, width."""
    drawn: LatentStatistics
    """Of latents with the posterior's noise."""
    means: LatentStatistics
    """Without it."""
    white: LatentStatistics
    """Of independent standard normal numbers of that shape."""
    mean_std: float
    """Standard deviation of all numbers of the means."""
    noise_std: float
    """Root mean square of the posterior's noise."""


def latent_space(means: Latents, drawn: Latents, *, seed: int = 0) -> LatentSpace:
    """The record for means and draws ``(b, c, h, w)`` of the same images.

    Raises:
        ValueError: there is no latent, it has fewer than three positions, or the means do not vary.
    """
    white = torch.randn(drawn.shape, generator=generator("white", seed))
    channels, height, width = drawn.shape[1:]
    return LatentSpace(
        shape=(channels, height, width),
        drawn=describe(drawn.cpu()),
        means=describe(means.cpu()),
        white=describe(white),
        mean_std=scale_of(means),
        noise_std=noise_std(means, drawn),
    )


def noise_std(means: Latents, drawn: Latents) -> float:
    """Root mean square of the posterior's noise, in the unit of the latents."""
    return (drawn.cpu().double() - means.cpu().double()).square().mean().sqrt().item()


@torch.no_grad()
def encoded(model: Model, originals: Bytes, *, seed: int, batch: int) -> tuple[Latents, Latents]:
    """Means and draws of the latents of images, on the model's device; the place of an image seeds its noise."""
    means, drawn = [], []
    for places in torch.arange(len(originals)).split(batch):
        code = model.autoencoder.encode(to_float(originals[places].to(model.device)))
        means.append(model.posterior.mean(code).float())
        drawn.append(draws_of(model.posterior, code, places, seed=seed).float())
    return torch.cat(means), torch.cat(drawn)
