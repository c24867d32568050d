"""The likelihood image by image: bits per dimension of each, and whether it tells foreign images from known ones.

The same bound as :mod:`simflow.evaluate.likelihood`, with two differences. It is kept for each image, with its parts;
and every image has a generator of its own for the draw of its latents, so its score does not depend on the batch or on
the number of processes. For an image of ``P`` pixel values

    bits = -(log p(image|x) + log p(x) + H) / (P log 2) - log2(step),

exact but for the draw. For :class:`~simflow.posterior.Dequantised` pixels ``log p(image|x)`` is 0 and ``step`` 1: the
flow's own likelihood, as TarFlow reports it. Otherwise it is the ELBO of a Gaussian decoder whose variance is measured
on training images, and a density is taken for a probability (``step = 2/255``).

Flows often give foreign images *higher* likelihood than known ones (Nalisnick et al. 2019): smooth images are cheap.
:func:`auroc` says how well a score separates two sets: 0.5 is not at all, below 0.5 is the wrong way round.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from simflow.distributed import sum_over_ranks
from simflow.evaluate.collect import OnProgress, Pictures, share_of, together
from simflow.model import Model
from simflow.objective import bits_per_dimension
from simflow.pixels import to_float
from simflow.posterior import Dequantised, NoNoise
from simflow.seeding import generator
from simflow.shapes import Code, Images, Labels, Latents

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
    """Of that, ``-log p(x)``: the flow."""
    entropy: Float64[Tensor, " n"]
    """Of that, ``-H``; negative where the posterior is wide."""

    def summary(self) -> dict[str, Any]:
        """Means, standard error and spread, for JSON."""
        count = len(self.bits)
        return {
            "bits_per_dimension": self.bits.mean().item(),
            "standard_error": self.bits.std().item() / math.sqrt(count),
            "reconstruction": self.reconstruction.mean().item(),
            "prior": self.prior.mean().item(),
            "entropy": self.entropy.mean().item(),
            "std_over_images": self.bits.std().item(),
            "least": self.bits.min().item(),
            "most": self.bits.max().item(),
            "images": count,
        }


def is_dequantised(model: Model) -> bool:
    """Whether the model codes 8-bit images themselves, without a decoder."""
    return isinstance(model.posterior, Dequantised)


@torch.no_grad()
def training_error(
    model: Model, train: Pictures, numbers: Int[Tensor, " n"], *, seed: int, batch: int = 100
) -> float:
    """Mean squared error of reconstructions from drawn latents, on [-1, 1]: the decoder's variance; collective.

    Raises:
        ValueError: the posterior has no noise, or the reconstructions are exact.
    """
    if isinstance(model.posterior, NoNoise):
        raise ValueError("without noise on the latents the ELBO is no bound on the likelihood")
    total = torch.zeros(1, dtype=torch.float64, device=model.device if model.device.type != "mps" else "cpu")
    values = 0
    for part in numbers[share_of(len(numbers))].split(batch):
        images = to_float(train.images(part).to(model.device))
        latents = drawn(model, model.autoencoder.encode(images), part.tolist(), seed=seed)
        error = (model.decode(latents).float() - images).square().sum()
        total += error.to(total)
        values += images.numel()
    variance = (
        sum_over_ranks(total).item() / sum_over_ranks(torch.tensor([values], device=total.device)).item()
    )
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
        ValueError: the posterior has no noise.
    """
    if isinstance(model.posterior, NoNoise):
        raise ValueError("without noise on the latents the ELBO is no bound on the likelihood")
    rows = [torch.zeros(0, 3, dtype=torch.float64)]
    own = share_of(len(numbers))
    for part in own.split(batch):
        images = to_float(pictures.images(numbers[part]).to(model.device))
        rows.append(
            _parts(model, images, labels[part].to(model.device), numbers[part].tolist(), variance, seed)
        )
        on_progress(len(part))
    log_likelihood, log_prior, entropy = together(torch.cat(rows), model.device).unbind(dim=1)
    values = pictures.images(numbers[:1]).numel()
    step = 1.0 if variance is None else 2 / 255
    return Scores(
        bits=bits_per_dimension(log_likelihood + log_prior + entropy, values, step=step),
        reconstruction=bits_per_dimension(log_likelihood, values, step=step),
        prior=bits_per_dimension(log_prior, values, step=1.0),
        entropy=bits_per_dimension(entropy, values, step=1.0),
    )


def drawn(model: Model, code: Code, numbers: Sequence[int], *, seed: int) -> Latents:
    """Latents of codes, each drawn with the generator of its image's number."""
    return torch.cat(
        [
            model.posterior.sample(one, generator("draw", seed, number, device=code.device))
            for one, number in zip(code.split(1), numbers, strict=True)
        ]
    )


def _parts(
    model: Model, images: Images, labels: Labels, numbers: Sequence[int], variance: float | None, seed: int
) -> Float64[Tensor, "b 3"]:
    """``log p(image|x)``, ``log p(x)`` and ``H`` in nats."""
    code = model.autoencoder.encode(images)
    latents = drawn(model, code, numbers, seed=seed)
    log_prior, entropy = model.prior.log_prob(latents, labels), model.posterior.entropy(code)
    if variance is None:
        log_likelihood = torch.zeros_like(log_prior)
    else:
        error = (model.decode(latents).float() - images).square().sum(dim=(1, 2, 3))
        constant = 0.5 * images[0].numel() * math.log(2 * math.pi * variance)
        log_likelihood = -0.5 * error / variance - constant
    return torch.stack([log_likelihood.cpu(), log_prior.cpu(), entropy.cpu()], dim=1).double()


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
