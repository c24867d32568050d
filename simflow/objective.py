"""The loss of the paper, term by term, with who learns from what.

SimFlow maximises ``log p(image|x) + log p(x)`` (Eq. 35 and 36): the entropy of a fixed variance is constant. Each
term is averaged at its own level, pixels for the reconstruction and latent numbers for the flow, and the two are
added 1:1. Two reconstructions:

- :class:`PixelMean`, the paper's: the mean absolute or squared error. Alone, at 1:1, it is too weak to keep the
  latents from collapsing; the paper's balance rests on perceptual and adversarial losses besides.
- :class:`Calibrated`: a Gaussian decoder whose variance is at its maximum-likelihood value, the mean squared error
  itself (sigma-VAE; Rybkin et al. 2021): ``-log p(image|x) = P/2 log(MSE) + const`` for ``P`` pixel values,
  divided by the ``D`` numbers of the latent as the flow's term is. This is the ELBO with no weight to choose.

Gradients of losses are routed here and nowhere else. :class:`Routing` says which losses
move which part, and a test holds it as a table.
"""

import math
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Generator, Tensor, nn

from simflow.model import Model
from simflow.shapes import NULL, Images, Labels, PerImage


@dataclass(frozen=True, kw_only=True)
class PixelMean:
    """Mean error a pixel value, on images in [-1, 1] (the paper's reconstruction term)."""

    norm: Literal["l1", "l2"] = "l2"
    """Absolute or squared error."""
    weight: float = 1.0
    """Weight against the flow's term; the paper keeps 1."""

    def loss(self, images: Images, decoded: Images, *, latent_numbers: int) -> Tensor:
        """Scalar; ``latent_numbers`` is not used."""
        error = decoded.float() - images
        return self.weight * (error.abs() if self.norm == "l1" else error.square()).mean()


@dataclass(frozen=True, kw_only=True)
class Calibrated:
    """Negative log likelihood of a Gaussian decoder at its best variance, a latent number."""

    weight: float = 1.0
    """1 is the ELBO; other values trade reconstruction against the prior (a beta-VAE's 1/beta)."""

    def loss(self, images: Images, decoded: Images, *, latent_numbers: int) -> Tensor:
        """``P / (2 D) * log(MSE)``, a scalar; the additive constant is left out as the flow's is."""
        mse = (decoded.float() - images).square().mean()
        return self.weight * images[0].numel() / (2 * latent_numbers) * torch.log(mse + 1e-8)


@dataclass(frozen=True, kw_only=True)
class Routing:
    """Which losses move which part of the model."""

    encoder: Literal["all", "reconstruction", "frozen"] = "all"
    """All losses (SimFlow: nothing is stopped), those on images only (the prior's gradient stops at the
    latents, the entropy's at the code), or none."""
    decoder: Literal["reconstruction", "frozen"] = "reconstruction"
    """The losses on images, or none."""
    prior: Literal["prior", "frozen"] = "prior"
    """The losses on latents, or none."""


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """The terms of the loss and their routes. The defaults are Eq. 36."""

    reconstruction: PixelMean | Calibrated = field(default_factory=PixelMean)
    """The pixel term."""
    prior_weight: float = 1.0
    """Weight of the prior's term, a mean over latent numbers."""
    label_drop: float = 0.1
    """Probability that a label is dropped, for guidance."""
    routing: Routing = field(default_factory=Routing)
    """Who learns from what."""


class Losses(NamedTuple):
    """Scalars of one batch. ``total`` is what is minimised; the others are its parts, and ``mse`` is a monitor."""

    total: Tensor
    reconstruction: Tensor
    prior: Tensor
    entropy: Tensor | None
    mse: Tensor

    def named(self) -> dict[str, Tensor]:
        """The terms there are, by name."""
        return {name: value for name, value in self._asdict().items() if value is not None}


class Objective(nn.Module):
    """The model and its loss as one module, so that whoever parallelises wraps one thing.

    Making it applies the routing: parts that are frozen stop requiring gradients.
    """

    def __init__(self, config: ObjectiveConfig, model: Model) -> None:
        super().__init__()
        self.config, self.model = config, model
        autoencoder, routing = model.autoencoder, config.routing
        frozen = (
            *(autoencoder.encoder_parts() if routing.encoder == "frozen" else ()),
            *(autoencoder.decoder_parts() if routing.decoder == "frozen" else ()),
            *((model.prior,) if routing.prior == "frozen" else ()),
        )
        for part in frozen:
            part.requires_grad_(requires_grad=False)

    @property
    def floor(self) -> float | None:
        """The least possible value of the prior's term: what a collapse approaches."""
        floor = self.model.posterior.floor
        return None if floor is None else floor * self.config.prior_weight

    def forward(self, images: Images, labels: Labels, generator: Generator) -> Losses:
        """Images in [-1, 1] and labels -> losses.

        Draws, in this order, from ``generator``: posterior noise, label drops, and what the prior needs.
        """
        model, config = self.model, self.config
        code = model.autoencoder.encode(images)
        latents = model.posterior.sample(code, generator)
        numbers = latents[0].numel()

        decoded = model.decode(latents)
        reconstruction = config.reconstruction.loss(images, decoded, latent_numbers=numbers)

        labels = drop_labels(labels, config.label_drop, generator)
        seen = latents if config.routing.encoder == "all" else latents.detach()
        energy = model.prior.energy(seen, labels, generator)
        prior = config.prior_weight * energy.value.mean() / numbers

        entropy = None
        total = reconstruction + prior
        if model.posterior.moments == 2:
            spread = code if config.routing.encoder == "all" else code.detach()
            entropy = -config.prior_weight * model.posterior.entropy(spread).mean() / numbers
            total = total + entropy
        mse = (decoded.detach().float() - images).square().mean()
        return Losses(total, reconstruction, prior, entropy, mse)


def drop_labels(labels: Labels, probability: float, generator: Generator) -> Labels:
    """Labels with each one replaced by NULL with the given probability (for classifier-free guidance)."""
    if probability == 0:
        return labels
    dropped = torch.rand(labels.shape, generator=generator, device=labels.device) < probability
    return torch.where(dropped, NULL, labels)


@torch.no_grad()
def elbo(model: Model, images: Images, labels: Labels, generator: Generator, *, variance: float) -> PerImage:
    """A one-draw estimate of the ELBO of each image in nats, as a density on [-1, 1] (Eq. 19).

    ``E_q[log p(image|x) + log p(x)] + H[q]`` with a Gaussian decoder of the given variance, one number for all
    pixels, which must come from other images than these.
    """
    code = model.autoencoder.encode(images)
    latents = model.posterior.sample(code, generator)
    error = (model.decode(latents).float() - images).square().sum(dim=(1, 2, 3))
    pixels = images[0].numel()
    likelihood = -0.5 * error / variance - 0.5 * pixels * math.log(2 * math.pi * variance)
    return likelihood + model.prior.log_prob(latents, labels) + model.posterior.entropy(code)


def bits_per_dimension(log_density: Tensor, numbers: int, *, step: float = 2 / 255) -> Tensor:
    """Log density on [-1, 1] in nats -> bits a pixel value of 8-bit images.

    Args:
        log_density: of each image, a true sum.
        numbers: pixel values in an image.
        step: distance of neighbouring grey values on [-1, 1]: 2/255 as :mod:`simflow.pixels` maps them, 2/256
            for uniformly dequantised images.
    """
    return -(log_density / numbers + math.log(step)) / math.log(2.0)
