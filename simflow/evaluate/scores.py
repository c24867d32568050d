"""The likelihood image by image: bits per dimension of each, and whether it tells foreign images from known ones.

``log p(image) >= E[log p(image|x)] + E[log p(x)] + H[q(x|image)]`` (SimFlow, Eq. 1 and 19), from one draw of the
latents (:mod:`simflow.evaluate.draws`). For an image of ``P`` pixel values

    bits = -(log p(image|x) + log p(x) + H) / (P log 2) - log2(step).

``p(image|x)`` is a Gaussian around the decoded image as it is shown, no whiter than white and no blacker than black, of
one variance for all pixels. Its maximum-likelihood value, the mean squared error, is measured on training images, so no
number is fitted to the images that are judged. The Gaussian is a density on [-1, 1]; density times ``step = 2/255`` is
taken for the probability of a grey level, which is close as long as the decoder's standard deviation is more than about
a step.

:class:`~simflow.posterior.Dequantised` pixels need no decoder: the draw tells the image exactly, ``log p(image|x)`` is
0 and ``step`` 1, and the rest bounds the probability of the image itself (Theis et al. 2016), as TarFlow reports it.

Flows often give foreign images *higher* likelihood than known ones (Nalisnick et al. 2019): smooth images are cheap.
:func:`auroc` says how well a score separates two sets: 0.5 is not at all, below 0.5 is the wrong way round.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from simflow.data.order import spread
from simflow.distributed import gather_rows
from simflow.evaluate.collect import OnProgress, Pictures
from simflow.evaluate.draws import Drawn, drawn
from simflow.model import Model
from simflow.objective import bits_per_dimension
from simflow.shapes import Labels, PerImage

TRAIN_IMAGES = 10_000
"""Most training images that the decoder's variance is measured on, evenly spread."""

BINS = 60
"""Bins of a histogram."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Of each image, float64; bits per pixel value."""

    bits: Float64[Tensor, " n"]
    """What the image costs, all parts together."""
    reconstruction: Float64[Tensor, " n"]
    """Of that, ``-log p(image|x)`` with the step; 0 for dequantised pixels."""
    prior: Float64[Tensor, " n"]
    """Of that, ``-log p(x)``: the prior's."""
    entropy: Float64[Tensor, " n"]
    """Of that, ``-H``; negative where the posterior is wide."""

    def summary(self) -> dict[str, Any]:
        """Means, standard error and spread (None of one image), for JSON."""
        count = len(self.bits)
        std = self.bits.std().item() if count > 1 else None
        return {
            "bits_per_dimension": self.bits.mean().item(),
            "standard_error": None if std is None else std / math.sqrt(count),
            "reconstruction": self.reconstruction.mean().item(),
            "prior": self.prior.mean().item(),
            "entropy": self.entropy.mean().item(),
            "std_over_images": std,
            "least": self.bits.min().item(),
            "most": self.bits.max().item(),
            "images": count,
        }


def no_bound(model: Model) -> str | None:
    """Why this model bounds no likelihood, as half a sentence; None if it does."""
    if not model.prior.has_density:
        return f"this model's prior, {type(model.prior).__name__}, has no density"
    if not model.posterior.noisy:
        return "without noise on the latents the ELBO is no bound"
    return None


@torch.no_grad()
def training_error(model: Model, train: Pictures, *, seed: int, batch: int = 100) -> float | None:
    """Mean squared error of reconstructions from drawn latents, on [-1, 1]: the decoder's variance.

    Of :data:`TRAIN_IMAGES`; None for dequantised pixels. Collective.

    Raises:
        ValueError: there is no bound, or the reconstructions are exact.
    """
    _require_bound(model)
    if model.posterior.lossless:
        return None
    numbers = spread(len(train), TRAIN_IMAGES)
    errors = [torch.zeros(0, dtype=torch.float64)]
    for seen in drawn(model, train, numbers, seed=seed, batch=batch):
        errors.append(_squared_error(model, seen).cpu().double())
    values = train.images(numbers[:1]).numel()
    variance = gather_rows(torch.cat(errors), model.device).mean().item() / values
    if variance == 0:
        raise ValueError("the training images are reconstructed exactly, so the decoder has no variance")
    return variance


@torch.no_grad()
def score(
    model: Model,
    pictures: Pictures,
    numbers: Int[Tensor, " n"],
    labels: Int[Tensor, " n"],
    *,
    variance: float | None,
    seed: int,
    batch: int = 100,
    on_progress: OnProgress = lambda seen: None,
) -> Scores:
    """Scores of the images of these numbers; collective.

    Args:
        model: in eval mode.
        pictures: where the images are.
        numbers: which ones; an image's number also seeds its draw.
        labels: their classes, or ``NULL``.
        variance: the decoder's, from training images; None for dequantised pixels.
        seed: of the draws.
        batch: images at once.
        on_progress: called with the number of images done.

    Raises:
        ValueError: there is no bound.
    """
    _require_bound(model)
    rows = [torch.zeros(0, 3, dtype=torch.float64)]
    for seen in drawn(model, pictures, numbers, seed=seed, batch=batch):
        rows.append(_parts(model, seen, labels[seen.places].to(model.device), variance))
        on_progress(len(seen.places))
    log_likelihood, log_prior, entropy = gather_rows(torch.cat(rows), model.device).unbind(dim=1)
    values = pictures.images(numbers[:1]).numel()
    step = 1.0 if variance is None else 2 / 255
    return Scores(
        bits=bits_per_dimension(log_likelihood + log_prior + entropy, values, step=step),
        reconstruction=bits_per_dimension(log_likelihood, values, step=step),
        prior=bits_per_dimension(log_prior, values, step=1.0),
        entropy=bits_per_dimension(entropy, values, step=1.0),
    )


def _parts(model: Model, seen: Drawn, labels: Labels, variance: float | None) -> Float64[Tensor, "b 3"]:
    """``log p(image|x)``, ``log p(x)`` and ``H`` in nats."""
    log_prior, entropy = model.prior.log_prob(seen.latents, labels), model.posterior.entropy(seen.code)
    if variance is None:
        log_likelihood = torch.zeros_like(log_prior)
    else:
        constant = 0.5 * seen.images[0].numel() * math.log(2 * math.pi * variance)
        log_likelihood = -0.5 * _squared_error(model, seen) / variance - constant
    return torch.stack([log_likelihood.cpu(), log_prior.cpu(), entropy.cpu()], dim=1).double()


def _squared_error(model: Model, seen: Drawn) -> PerImage:
    """Summed over the pixel values of each image, of what the latents decode to, clamped to [-1, 1]."""
    return (model.decode(seen.latents).float().clamp(-1, 1) - seen.images).square().sum(dim=(1, 2, 3))


def _require_bound(model: Model) -> None:
    why = no_bound(model)
    if why is not None:
        raise ValueError(why)


def histograms(sets: dict[str, Float[Tensor, " n"]], *, bins: int = BINS) -> dict[str, Any]:
    """Counts of several sets in common bins: ``edges`` (one more than bins) and ``counts`` by name.

    The bins reach from the least to the greatest of all numbers.
    """
    everything = torch.cat([values.double() for values in sets.values()])
    low, high = everything.min().item(), everything.max().item()
    if low == high:
        low, high = low - 0.5, high + 0.5
    edges = torch.linspace(low, high, bins + 1, dtype=torch.float64)
    counts = {
        name: torch.histogram(values.double().cpu(), edges).hist.to(torch.int64).tolist()
        for name, values in sets.items()
    }
    return {"edges": edges.tolist(), "counts": counts}


def auroc(known: Float[Tensor, " n"], foreign: Float[Tensor, " m"]) -> float:
    """Probability that a foreign image has a higher score than a known one; ties count half.

    >>> auroc(torch.tensor([1.0, 2.0]), torch.tensor([2.0, 3.0]))
    0.875
    """
    ordered = known.double().sort().values
    below = torch.searchsorted(ordered, foreign.double(), right=False)
    up_to = torch.searchsorted(ordered, foreign.double(), right=True)
    return ((below + up_to).double().mean() / (2 * len(known))).item()
