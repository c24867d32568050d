"""The Fréchet distance of a model's own samples from the training images, as a loss.

FD-loss (Yang et al. 2026, arXiv 2604.28190). Features of a trained network that stands still are taken for Gaussian,
those of training images as ``N(r, R)`` and those of samples as ``N(m, S)``. A batch is far too small for a covariance,
so the samples of the last steps are one population: their moments are running ones, and the gradient is that of the
batch at hand. The distance (Heusel et al. 2017) has the gradient, for a sample with features ``f``,

    f - (r + T (f - m)),      T = R^(1/2) (R^(1/2) S R^(1/2))^(-1/2) R^(1/2)

up to a factor: ``T`` is the linear map that carries the one Gaussian to the other at the least cost, so each sample is
pulled to where it would be carried. ``T`` comes from the moments before the step and stands still in it; no root of a
matrix is differentiated. A small variance is added to both covariances, or directions in which images hardly differ
would be stretched without bound.

The features are the means over places of several feature maps of SqueezeNet 1.1, and of the patches of a vision
transformer if one is named; each map is a space of its own, divided by the spread of the training images there.
Classes may stand beside them, a number each, which is 1 for an image's own (the Fréchet joint distance; DeVries et al.
2019, arXiv 1907.08175): then it counts too what images of a class look like, by how features and classes vary together.

A distance is called by the network that measures: this one is a loss, and falls as it is told to. Judge by another
network (FD-EffLite0, the FID), by likelihood, and by eye.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from simflow.bounds import at_least, not_negative, positive
from simflow.frechet import Gaussian, Moments, square_root
from simflow.losses.backbones import SqueezeNet11
from simflow.losses.frozen import Frozen
from simflow.losses.perceptual import SqueezeNetDistance
from simflow.losses.vit import PATCH, DinoV2
from simflow.shapes import Features, Images, Labels, Latents


@dataclass(frozen=True, kw_only=True)
class FrechetConfig:
    """FD-loss: a flow learns from its own samples, guided as the run's are, at temperature 1, before any score step."""

    weight: float = 1.0
    """Weight in the loss, against the prior's nats a latent number."""
    memory: int = 10
    """Steps that the population of samples remembers: moments are averages that each step moves by one over it. They
    follow the weights with that much delay: many need a small learning rate, and few know little of a covariance."""
    maps: tuple[int, ...] = (3, 5, 7)
    """Feature maps of SqueezeNet that are looked at, from 1 (edges) to 7 (things)."""
    size: int = 64
    """Side in pixels to which images are brought for the network."""
    vit: DinoV2 | None = None
    """A vision transformer that looks as well, which makes one map more, or none. Without a ``side`` of its own it sees
    images at ``size``, rounded down to a multiple of 14."""
    images: int = 50_000
    """Most training images that the samples are compared with, evenly spread."""
    passes: int = 1
    """Parallel passes by which the gradient goes back through a block of the flow: tokens so many steps apart."""
    classes: float = 0.0
    """Spread of the classes beside the features, whose spread is 1; 0 leaves them out."""
    ridge: float = 1e-4
    """Variance added in every direction, as a share of all there is among the training images."""

    def __post_init__(self) -> None:
        positive(self, "objective.frechet", "weight", "ridge")
        not_negative(self, "objective.frechet", "classes")
        at_least(1, self, "objective.frechet", "memory", "maps", "passes")
        at_least(2, self, "objective.frechet", "images")
        at_least(SqueezeNet11.SMALLEST, self, "objective.frechet", "size")
        if not self.maps or max(self.maps) > len(SqueezeNet11.WIDTHS):
            raise ValueError(
                f"objective.frechet.maps names feature maps of SqueezeNet from 1 to {len(SqueezeNet11.WIDTHS)}, not "
                f"{self.maps}"
            )

    def build(self, *, classes: int = 0) -> "FrechetLoss":
        """The loss for a model of so many classes with its network, on the CPU in float32; it knows of no images yet.

        Raises:
            ValueError: classes are to be looked at, and there are none; or the weights of the transformer are not to be
                had.
        """
        if self.classes and not classes:
            raise ValueError("objective.frechet.classes needs classes, and these images have none")
        return FrechetLoss(self, classes if self.classes else 0)


class FrechetLoss(nn.Module):
    """Decoded samples -> the distance of the population that they belong to from the training images.

    Tell its populations of the training images first (:meth:`Populations.compare_with`), and of the end of each step
    (:meth:`Populations.settle`). Until ``memory`` steps have been settled its gradient is zero.
    """

    def __init__(self, config: FrechetConfig, classes: int = 0) -> None:
        super().__init__()
        self.config, self.classes = config, classes
        self.eyes = Eyes(config)
        self.populations = Populations(
            Population(width, classes, beside=config.classes, memory=config.memory, ridge=config.ridge)
            for width in self.eyes.widths
        )
        """What is saved with a run: the moments of both kinds of features."""

    def look(self, images: Images, labels: Labels) -> list[Features]:
        """What the network sees in images in [-1, 1], and their classes if they count; float32, a tensor a map."""
        seen = cast("list[Features]", self.eyes(images))
        own = (labels[:, None] == torch.arange(self.classes, device=labels.device)).to(seen[0].dtype)
        return [torch.cat([features, own], dim=1) for features in seen]

    def forward(self, images: Images, labels: Labels) -> Tensor:
        """A scalar, the mean over the maps: its value is the distance before this step, its gradient the distance's.

        The samples are remembered until the populations settle.
        """
        seen = self.look(images, labels)
        terms = [
            each.distance(features) for each, features in zip(self.populations.each(), seen, strict=True)
        ]
        return torch.stack(terms).mean()

    def seen_through(self, decode: Callable[[Latents], Images], latents: Latents, labels: Labels) -> Tensor:
        """:meth:`forward` of what a decoder makes of latents. Its gradient reaches the latents and not the decoder."""
        seen = latents.detach().requires_grad_()
        distance = self(decode(seen), labels)
        (slope,) = torch.autograd.grad(distance, seen)
        return distance.detach() + ((latents - latents.detach()) * slope).sum()


class Eyes(Frozen):
    """Images in [-1, 1] -> means over places of some feature maps of SqueezeNet, and of a transformer's patches."""

    def __init__(self, config: FrechetConfig) -> None:
        super().__init__()
        self.maps, self.size = config.maps, config.size
        self.backbone = SqueezeNetDistance().build().backbone
        self.vit = None if config.vit is None else config.vit.build("objective.frechet.vit")
        last = () if self.vit is None else (self.vit.width,)
        self.widths = tuple(SqueezeNet11.WIDTHS[number - 1] for number in self.maps) + last
        self.freeze()

    def forward(self, images: Images) -> list[Features]:
        resized = images
        if images.shape[-1] != self.size:
            resized = F.interpolate(images.float(), size=self.size, mode="bilinear", antialias=True)
        maps = self.backbone(resized, max(self.maps))
        seen = [maps[number - 1] for number in self.maps]
        if self.vit is not None:
            patches = self.size // PATCH
            seen.append(self.vit.features(images, (patches, patches)))
        return [each.float().mean(dim=(2, 3)) for each in seen]


class Aim(NamedTuple):
    """Where samples are carried, and how far the whole population has to go; float64."""

    real_mean: Float[Tensor, " d"]
    mean: Float[Tensor, " d"]
    transport: Float[Tensor, "d d"]
    distance: Tensor

    def of(self, features: Features) -> Features:
        """The places of features in the population of the training images, in the dtype of the features."""
        real_mean, mean, transport = (each.to(features.dtype) for each in self[:3])
        return real_mean + (features - mean) @ transport


class Population(nn.Module):
    """The features of one map: moments of the training images, and running ones of samples, all float64 buffers.

    Features are divided by ``spread``, the root of the total variance of the training images; that of ``classes``
    further numbers becomes ``beside``, likewise.
    """

    spread: Tensor
    real_mean: Tensor
    real_root: Tensor
    mean: Tensor
    second: Tensor
    steps: Tensor

    def __init__(
        self, width: int, classes: int = 0, *, beside: float = 1.0, memory: int, ridge: float
    ) -> None:
        super().__init__()
        self.width, self.beside, self.memory, self.ridge = width, beside, memory, ridge
        zeros = torch.zeros(width + classes, width + classes, dtype=torch.float64)
        self.register_buffer("spread", torch.ones(width + classes, dtype=torch.float64))
        self.register_buffer("real_mean", zeros[0].clone())
        self.register_buffer("real_root", zeros.clone())
        """Root of the covariance of the training images, the ridge in it."""
        self.register_buffer("mean", zeros[0].clone())
        self.register_buffer("second", zeros.clone())
        """Mean of the outer product of a sample's features with themselves."""
        self.register_buffer("steps", torch.zeros((), dtype=torch.float64))
        self.aim: Aim | None = None
        self.waiting: list[Features] = []

    def compare_with(self, real: Gaussian) -> None:
        """Takes over mean and covariance of the training images' features."""
        variances = real.covariance.diagonal()
        spread = torch.empty_like(variances)
        spread[: self.width] = variances[: self.width].sum().clamp(min=1e-12).sqrt()
        spread[self.width :] = variances[self.width :].sum().clamp(min=1e-12).sqrt() / self.beside
        floor = self.ridge * torch.eye(len(real.mean), dtype=torch.float64)
        self.spread.copy_(spread)
        self.real_mean.copy_(real.mean / spread)
        self.real_root.copy_(square_root(real.covariance / torch.outer(spread, spread) + floor))
        self.aim = None

    def distance(self, features: Features) -> Tensor:
        """Of the population so far, with the gradient at these samples; they wait to join."""
        if self.aim is None:
            self.aim = self.aimed()
        scaled, aim = features / self.spread.to(features.dtype), self.aim
        self.waiting.append(scaled.detach())
        pull = (scaled - aim.of(scaled.detach())).square().sum(dim=1).mean()
        known = (self.steps >= self.memory).to(pull.dtype)
        return aim.distance.to(pull.dtype) + known * (pull - pull.detach())

    @torch.no_grad()
    def settle(self, average: Callable[[Tensor], Tensor]) -> None:
        """The waiting samples join; those of a step whose features are no numbers are left out."""
        features = torch.cat(self.waiting).double()
        self.waiting.clear()
        mean, second = average(features.mean(dim=0)), average(features.T @ features / len(features))
        whole = mean.isfinite().all() & second.isfinite().all()
        share = whole / (self.steps + 1).clamp(max=self.memory)
        self.mean.lerp_(torch.where(whole, mean, self.mean), share)
        self.second.lerp_(torch.where(whole, second, self.second), share)
        self.steps += whole
        self.aim = None

    @torch.no_grad()
    def aimed(self) -> "Aim":
        """Where samples are carried, by the moments as they are."""
        root, mean = self.real_root, self.mean
        floor = self.ridge * torch.eye(len(mean), dtype=torch.float64, device=mean.device)
        own = self.second - torch.outer(mean, mean) + floor
        middle = root @ own @ root
        values, vectors = torch.linalg.eigh((middle + middle.T) / 2)
        roots = values.clamp(min=self.ridge**2).sqrt()
        transport = root @ (vectors / roots) @ vectors.T @ root
        means = (mean - self.real_mean).square().sum()
        distance = means + own.trace() + root.square().sum() - 2 * roots.sum()
        return Aim(self.real_mean, mean, transport, distance)


class Populations(nn.ModuleList):
    """One for each map; what is saved with a run."""

    def each(self) -> list[Population]:
        """The populations, in the order of the maps."""
        return cast("list[Population]", list(self))

    def compare_with(self, seen: Iterable[Moments]) -> None:
        """Takes over the moments of the training images' features, one for each map.

        Raises:
            ValueError: there are fewer than two images.
        """
        for population, moments in zip(self.each(), seen, strict=True):
            population.compare_with(moments.gaussian())

    def settle(self, average: Callable[[Tensor], Tensor]) -> None:
        """Once a step: the samples since the last time join. ``average`` is over processes."""
        for population in self.each():
            population.settle(average)
