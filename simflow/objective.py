"""The loss of the paper, term by term, with who learns from what.

SimFlow maximises ``log p(image|x) + log p(x)`` (Eq. 35 and 36): the entropy of a fixed variance is constant. Each
term is averaged at its own level, pixels for the reconstruction and latent numbers for the flow, and the two are
added 1:1 (:mod:`simflow.losses.reconstruction`).

Four further terms, each of them off unless asked for: a perceptual distance and an adversarial term on the images,
the alignment of the prior's hidden tokens with a trained network, and the Fréchet distance of the prior's own samples
from the training images (:mod:`simflow.losses`). A term of weight 0 is not
computed: a prior on a frozen autoencoder decodes nothing, and a decoder's own stage runs no prior.

Gradients of losses are routed here and nowhere else. :class:`Routing` says which losses move which part, and a test
holds it as a table.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Literal, NamedTuple, TypeVar

import torch
from torch import Generator, Tensor, nn

from simflow.bounds import not_negative
from simflow.flow.guidance import Guidance
from simflow.losses.adversarial import AdversarialConfig, Balanced, Discriminator
from simflow.losses.alignment import AlignmentConfig
from simflow.losses.frechet import FrechetConfig
from simflow.losses.perceptual import SqueezeNetDistance, VGG16Distance
from simflow.losses.reconstruction import Calibrated, PixelMean, censored
from simflow.model import Model
from simflow.pixels import to_float
from simflow.prior import Energy, Hidden
from simflow.shapes import NULL, Code, Images, Labels, Latents
from simflow.sit.guidance import ClassifierFree

Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class Routing:
    """Which losses move which part of the model."""

    encoder: Literal["all", "reconstruction", "alignment", "frozen"] = "all"
    """All losses (SimFlow: nothing is stopped), those on images only (the prior's gradient stops at the
    latents, the entropy's at the code), those on images and the alignment (REPA-E, which walks through the prior
    a second time for it), or none."""
    decoder: Literal["reconstruction", "frozen"] = "reconstruction"
    """The losses on images, or none."""
    prior: Literal["prior", "frozen"] = "prior"
    """The losses on latents, the alignment and the loss on samples, or none."""


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """The terms of the loss and their routes. The defaults are Eq. 36."""

    reconstruction: PixelMean | Calibrated = field(default_factory=PixelMean)
    """The pixel term."""
    perceptual: SqueezeNetDistance | VGG16Distance | None = None
    """A distance as a trained network sees it, or none."""
    adversarial: AdversarialConfig | None = None
    """A discriminator to please, or none."""
    alignment: AlignmentConfig | None = None
    """A trained network that the prior's hidden tokens are aligned with, or none."""
    frechet: FrechetConfig | None = None
    """FD-loss on the prior's own samples, or none."""
    prior_weight: float = 1.0
    """Weight of the prior's term, a mean over latent numbers."""
    label_drop: float = 0.1
    """Probability that a label is dropped, for guidance."""
    censored: bool = False
    """Whether a decoded pixel whiter than white counts as white where the image is white, and likewise for black, as it
    will be shown: plain backgrounds become plain (:func:`~simflow.losses.reconstruction.censored`)."""
    routing: Routing = field(default_factory=Routing)
    """Who learns from what."""

    def __post_init__(self) -> None:
        not_negative(self, "objective", "prior_weight")
        if self.frechet is not None and (self.routing.prior == "frozen" or not self.prior_weight):
            raise ValueError(
                "objective.frechet teaches the prior beside its own term: it needs objective.prior_weight, and a prior "
                "that is not frozen"
            )
        if not 0 <= self.label_drop <= 1:
            raise ValueError(f"objective.label_drop must be from 0 to 1, not {self.label_drop}")

    @property
    def on_images(self) -> bool:
        """Whether any term is about images."""
        return bool(self.reconstruction.weight or self.perceptual or self.adversarial)

    @property
    def needs_only_codes(self) -> bool:
        """Whether every term can be had from the codes of images, which never change."""
        return self.routing.encoder == "frozen" and not self.on_images and self.alignment is None

    def floor(self, model: Model) -> float | None:
        """The least possible value of the prior's term: what a collapse approaches. None where there is none, or no
        term."""
        floor = model.posterior.floor
        if floor is None or not self.prior_weight:
            return None
        return model.prior.least_energy(floor) * self.prior_weight


BOTTOM = -2.5
"""Nats a latent number: less than noise of standard deviation 0.05 would allow."""


class Losses(NamedTuple):
    """Scalars of one batch. ``total`` is what is minimised; the others are those of its parts that have a weight.

    ``mse`` is a monitor, for whoever decodes.
    """

    total: Tensor
    reconstruction: Tensor | None = None
    prior: Tensor | None = None
    entropy: Tensor | None = None
    mse: Tensor | None = None
    perceptual: Tensor | None = None
    adversarial: Tensor | None = None
    alignment: Tensor | None = None
    frechet: Tensor | None = None
    decoded: Images | None = None
    """The reconstructions, for a discriminator to learn from; without gradient, and only if there is one."""

    def named(self) -> dict[str, Tensor]:
        """The scalars there are, by name."""
        scalars = self._replace(decoded=None)._asdict()
        return {name: value for name, value in scalars.items() if value is not None}


def comparable(losses: Mapping[str, object], others: Mapping[str, Value]) -> dict[str, Value]:
    """The terms of another walk that are the same sums: without a discriminator to please or samples to learn from, a
    total is another one.

    >>> comparable({"total": 1, "prior": 0}, {"total": 3, "prior": 2})
    {'total': 3, 'prior': 2}
    >>> comparable({"total": 1, "prior": 0, "adversarial": 1}, {"total": 3, "prior": 2})
    {'prior': 2}
    """
    lacks = {"adversarial", "frechet"} & losses.keys() - others.keys()
    return {name: value for name, value in others.items() if not (lacks and name == "total")}


class Objective(nn.Module):
    """The model and its loss as one module, so that whoever parallelises wraps one thing.

    Making it applies the routing: parts that are frozen, or that no term reaches, stop requiring gradients.

    Args:
        config: the terms and their routes.
        model: what learns.
        coded: :meth:`forward` is given codes in place of images.
        guidance: of the samples that the prior learns from, where it does.

    Raises:
        ValueError: no term has a weight, codes are not all that the terms need, the weights of a judging network are
            not to be had, there is no such layer to align, or the prior cannot learn from its samples.
    """

    def __init__(
        self,
        config: ObjectiveConfig,
        model: Model,
        *,
        coded: bool = False,
        guidance: Guidance | ClassifierFree | None = None,
    ) -> None:
        super().__init__()
        if coded and not config.needs_only_codes:
            raise ValueError(
                "train.codes kept is for a prior that learns alone, behind a frozen encoder and without alignment: "
                "leave it at fresh"
            )
        self.config, self.model, self.coded, self.guidance = config, model, coded, guidance
        autoencoder, routing = model.autoencoder, config.routing
        self.on_images = config.on_images
        self.on_latents = bool(config.prior_weight or config.alignment)
        if not (self.on_images or self.on_latents):
            raise ValueError("nothing is to be learnt: every term of the objective has the weight 0")
        self.frozen = (
            *(autoencoder.encoder_parts() if routing.encoder == "frozen" else ()),
            *(autoencoder.decoder_parts() if routing.decoder == "frozen" or not self.on_images else ()),
            *((model.prior,) if routing.prior == "frozen" or not self.on_latents else ()),
        )
        for part in self.frozen:
            part.requires_grad_(requires_grad=False)
        self.perceptual = None if config.perceptual is None else config.perceptual.build()
        self.alignment = None
        if config.alignment is not None:
            check_layer(config.alignment, model.prior.depths)
            self.alignment = config.alignment.build(width=model.prior.hidden_width, grid=model.prior.grid)
        elif routing.encoder == "alignment":
            raise ValueError("the encoder is to learn from the alignment, but objective.alignment is not set")

        self.frechet = None
        if config.frechet is not None:
            if not model.prior.learns_from_samples:
                raise ValueError(
                    f"objective.frechet is for flows: a {model.prior.kind} cannot learn from its samples"
                )
            self.frechet = config.frechet.build(classes=len(model.facts.class_names))

    @property
    def floor(self) -> float | None:
        """The least possible value of the prior's term, as :meth:`ObjectiveConfig.floor` has it."""
        return self.config.floor(self.model)

    @property
    def bottom(self) -> float | None:
        """Without noise nothing bounds the prior's term; a value below which the latents must have collapsed."""
        if self.model.posterior.floor is not None or self.model.posterior.moments == 2:
            return None
        return BOTTOM * self.config.prior_weight

    def train(self, mode: bool = True) -> "Objective":  # noqa: FBT001, FBT002
        """Training mode for all but what is frozen, which is to learn nothing beside the gradient either."""
        super().train(mode)
        for part in self.frozen:
            part.eval()
        return self

    def companions(self) -> dict[str, nn.Module]:
        """What learns beside the model and is saved with it, by name, but never sampled from."""
        found: dict[str, nn.Module] = {}
        if self.alignment is not None:
            found["projector"] = self.alignment.projector
        if self.frechet is not None:
            found["populations"] = self.frechet.populations
        return found

    def ready(self, stored: Tensor) -> Images | Code:
        """What training is shown as it is stored (bytes, or codes in half precision), ready for :meth:`forward`."""
        return stored.float() if self.coded else to_float(stored)

    def forward(
        self, images: Images | Code, labels: Labels, generator: Generator, judge: Discriminator | None = None
    ) -> Losses:
        """Images in [-1, 1], or their codes if ``coded``, and labels -> losses.

        Draws, in this order, from ``generator``: posterior noise, label drops, what the prior needs, and the noise of
        samples to learn from, which are left out in evaluation mode. The ``judge`` is a discriminator to please, which
        learns nothing here; without one that term is left out.
        """
        model, config = self.model, self.config
        code = images if self.coded else model.autoencoder.encode(images)
        latents = model.posterior.sample(code, generator)
        numbers = latents[0].numel()
        known, labels = labels, drop_labels(labels, config.label_drop, generator)

        decoded = reconstruction = perceptual = adversarial = mse = None
        if self.on_images:
            decoded = model.decode(latents)
            if config.censored:
                decoded = censored(decoded, images)
            compared, judged = decoded, decoded
            if config.adversarial is not None and config.adversarial.relative and judge is not None:
                compared, judged = Balanced.apply(decoded, config.adversarial.weight)
            reconstruction = config.reconstruction.loss(images, compared, latent_numbers=numbers)
            perceptual = self.perceptual_term(images, compared)
            adversarial = self.adversarial_term(judged, judge)
            mse = (decoded.detach().float() - images).square().mean()

        prior = alignment = entropy = None
        if self.on_latents:
            energy, aligned = self.energies(latents, labels, generator)
            prior = config.prior_weight * energy.value.mean() / numbers
            alignment = self.alignment_term(images, aligned.hidden)
            if model.posterior.moments == 2:
                spread = code if config.routing.encoder == "all" else code.detach()
                entropy = -config.prior_weight * model.posterior.entropy(spread).mean() / numbers
        frechet = self.frechet_term(known, generator)  # pyright: ignore[reportCallIssue]

        terms = (reconstruction, prior, entropy, perceptual, adversarial, alignment, frechet)
        return Losses(
            total=reduce(torch.add, (term for term in terms if term is not None)),
            reconstruction=reconstruction,
            prior=prior,
            entropy=entropy,
            mse=mse,
            perceptual=perceptual,
            adversarial=adversarial,
            alignment=alignment,
            frechet=frechet,
            decoded=None if config.adversarial is None or decoded is None else decoded.detach(),
        )

    def energies(self, latents: Latents, labels: Labels, generator: Generator) -> tuple[Energy, Energy]:
        """What the prior says of the latents: for its own term, and for the alignment.

        They are one walk through the prior, unless the encoder learns from the second only (REPA-E).
        """
        prior, config = self.model.prior, self.config
        align = None if config.alignment is None else config.alignment.where
        seen = latents if config.routing.encoder == "all" else latents.detach()
        energy = prior.energy(seen, labels, generator, align)
        if config.routing.encoder != "alignment":
            return energy, energy
        return energy, prior.energy(latents, labels, generator, align)

    def perceptual_term(self, images: Images, decoded: Images) -> Tensor | None:
        """The weighted distance of images and reconstructions, if asked for."""
        if self.perceptual is None or self.config.perceptual is None:
            return None
        return self.config.perceptual.weight * self.perceptual(images, decoded).mean()

    def adversarial_term(self, decoded: Images, judge: Discriminator | None) -> Tensor | None:
        """The negative logit of the reconstructions, if there is a judge; no gradient reaches the judge.

        It is weighted, unless the weight is that of its gradient.
        """
        if judge is None or self.config.adversarial is None:
            return None
        displeasure = judge.displeasure(decoded)
        return (
            displeasure if self.config.adversarial.relative else self.config.adversarial.weight * displeasure
        )

    def alignment_term(self, images: Images, hidden: Hidden | None) -> Tensor | None:
        """The weighted distance of hidden tokens and features, if asked for."""
        if self.alignment is None or self.config.alignment is None:
            return None
        assert hidden is not None, "the prior gave no hidden tokens"
        return self.config.alignment.weight * self.alignment(images, hidden).mean()

    @torch.compiler.disable  # a walk through the tokens, and roots of matrices
    def frechet_term(self, labels: Labels, generator: Generator) -> Tensor | None:
        """The weighted distance of as many samples of these labels from the training images, if asked for; no gradient
        reaches the decoder."""
        if self.frechet is None or self.config.frechet is None or not self.training:
            return None
        prior, passes = self.model.prior, self.config.frechet.passes
        shape = (len(labels), *prior.noise_shape)
        noise = torch.randn(shape, generator=generator, device=labels.device, dtype=self.model.dtype)
        latents = prior.reparametrised(noise, labels, self.guidance, passes=passes)
        return self.config.frechet.weight * self.frechet.seen_through(self.model.decode, latents, labels)


def check_layer(alignment: AlignmentConfig, depths: tuple[int, ...]) -> None:
    """Refuses a block or a layer that the prior has not.

    Raises:
        ValueError: there is no such layer.
    """
    block, layer = alignment.where
    if not (1 <= block <= len(depths) and 1 <= layer <= depths[block - 1]):
        raise ValueError(
            f"there is no layer {layer} in block {block} to align: the blocks have {', '.join(map(str, depths))} "
            "layers, and both are counted from 1"
        )


def drop_labels(labels: Labels, probability: float, generator: Generator) -> Labels:
    """Labels with each one replaced by NULL with the given probability (for classifier-free guidance)."""
    if probability == 0:
        return labels
    dropped = torch.rand(labels.shape, generator=generator, device=labels.device) < probability
    return torch.where(dropped, NULL, labels)


def bits_per_dimension(log_density: Tensor, numbers: int, *, step: float = 2 / 255) -> Tensor:
    """Log density on [-1, 1] in nats -> bits per pixel value of 8-bit images.

    Args:
        log_density: of each image, a true sum.
        numbers: pixel values in an image.
        step: distance of neighbouring grey values on [-1, 1]: 2/255 as :mod:`simflow.pixels` maps them, 2/256
            for uniformly dequantised images.
    """
    return -(log_density / numbers + math.log(step)) / math.log(2.0)
