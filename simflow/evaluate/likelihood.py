"""A bound on how well the model codes images it has not seen: the ELBO in bits per pixel value.

``log p(image) >= E[log p(image|x)] + E[log p(x)] + H[q(x|image)]`` (SimFlow, Eq. 19), with the draw of
:mod:`simflow.posterior` and a Gaussian decoder whose one variance must come from somewhere. Its
maximum-likelihood value, the mean squared error, is measured on training images; the ELBO is then taken on
held-out ones. So no number is fitted to the images that are judged.

The Gaussian is a density, and 8-bit images have probabilities. Density times the step between grey levels is
taken for the probability of a level, which is close as long as the decoder's standard deviation is more than
about a step (2/255); ``decoder_variance`` is reported so that this can be seen.

:class:`~simflow.posterior.Dequantised` pixels need neither: the draw tells the image exactly, the first term is
0, and the rest bounds the probability of the image itself (Theis et al. 2016), as TarFlow reports it.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Int, UInt8
from torch import Generator, Tensor

from simflow.model import Model
from simflow.objective import bits_per_dimension, elbo
from simflow.pixels import Bytes, to_float
from simflow.posterior import Dequantised, NoNoise
from simflow.seeding import generator
from simflow.shapes import Images, Labels, PerImage


@dataclass(frozen=True, kw_only=True)
class Likelihood:
    """A bound on the code length of held-out images."""

    bits_per_dimension: float
    """Negative ELBO a pixel value, mean over images; lower is better, 8 is what raw bytes take."""
    standard_error: float
    """Standard deviation over images divided by the root of their number: how far the mean may be off
    because these images were drawn. The draw of the latents is included; the training is not."""
    decoder_variance: float | None
    """Mean squared error on the training images, on [-1, 1]; None for dequantised pixels."""


def elbo_bits(
    model: Model,
    train_images: Bytes,
    held_out_images: UInt8[Tensor, "m channels height width"],
    held_out_labels: Int[Tensor, " m"],
    *,
    seed: int = 0,
    batch: int = 256,
) -> Likelihood:
    """The bound, from one draw of the latents an image.

    Args:
        model: in eval mode, with the weights to be judged.
        train_images: images it was trained on, for the decoder's variance.
        held_out_images: images it was not trained on; at least two.
        held_out_labels: their classes, or ``NULL``.
        seed: of the draws.
        batch: images at once; it changes which noise an image gets.

    Raises:
        ValueError: the posterior has no noise, there are too few images, or the reconstructions are exact.
    """
    if isinstance(model.posterior, NoNoise):
        raise ValueError("without noise on the latents the ELBO is no bound on the likelihood")
    if len(held_out_images) < 2 or len(train_images) == 0:
        raise ValueError("the ELBO needs training images and at least two held-out images")
    draws = generator(seed, "held out", device=model.device)
    labels = held_out_labels.to(model.device).split(batch)
    parts = zip(_batches(model, held_out_images, batch), labels, strict=True)
    numbers = held_out_images[0].numel()
    if isinstance(model.posterior, Dequantised):
        variance = None
        bounds = torch.cat([dequantised(model, *part, draws) for part in parts]).cpu().double()
        bits = bits_per_dimension(bounds, numbers, step=1.0)
    else:
        variance = decoder_variance(
            model, train_images, generator(seed, "train", device=model.device), batch=batch
        )
        if variance == 0:
            raise ValueError("the training images are reconstructed exactly, so the decoder has no variance")
        bounds = torch.cat([elbo(model, *part, draws, variance=variance) for part in parts]).cpu().double()
        bits = bits_per_dimension(bounds, numbers)
    return Likelihood(
        bits_per_dimension=bits.mean().item(),
        standard_error=bits.std().item() / math.sqrt(len(bits)),
        decoder_variance=variance,
    )


@torch.no_grad()
def dequantised(model: Model, images: Images, labels: Labels, draws: Generator) -> PerImage:
    """``log p(x) + H`` in nats from one draw: a bound on the log probability of each 8-bit image."""
    code = model.autoencoder.encode(images)
    latents = model.posterior.sample(code, draws)
    return model.prior.log_prob(latents, labels) + model.posterior.entropy(code)


@torch.no_grad()
def decoder_variance(model: Model, images: Bytes, draws: Generator, *, batch: int = 256) -> float:
    """Mean squared error of reconstructions from drawn latents, unclamped, a pixel value on [-1, 1]."""
    error = 0.0
    for signed in _batches(model, images, batch):
        decoded = model.decode(model.encode(signed, draws)).float()
        error += (decoded - signed).square().cpu().double().sum().item()
    return error / images.numel()


def _batches(model: Model, images: Tensor, batch: int) -> Iterator[Images]:
    """The images in [-1, 1] on the model's device."""
    return (to_float(part.to(model.device)) for part in images.split(batch))
