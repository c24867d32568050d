"""The Fréchet distance of samples over the weight of guidance, as Figure 7 of the SimFlow paper has it.

A :class:`Yardstick` is one network (any extractor of :mod:`simflow.evaluate.choose`) and what it has seen of real
images, which is looked at once; samples of every weight and every score step are then held against the same Gaussian.
The *floor* is the distance of real images in the place of the samples, as many of them as there are samples (half of
the real ones, if those are fewer), from all others: with few images it is large, and no model can pass it.

A sweep draws the same seeds at every weight, so its distances differ by less than each of them is uncertain, and all
have the same bias of few samples; they cannot be compared with distances of other numbers of images.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from simflow.evaluate.extractors import Extractor, Identity
from simflow.evaluate.generation import frechet_floor, gaussian_of, halves, require_enough
from simflow.frechet import Frechet, Gaussian, frechet_distance
from simflow.pixels import Bytes
from simflow.shapes import Features

BATCH = 64
"""Images that a network looks at, at once."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Yardstick:
    """What one network has seen of real images."""

    extractor: Extractor
    real: Gaussian
    images: int
    """Real images."""
    floor: float | None
    """Distance of real images in the place of the samples; None if there are too few."""
    floor_images: int
    """How many stood in that place."""

    def distance(self, samples: Bytes) -> Frechet:
        """Of samples ``(b, channels, height, width)`` from the real images."""
        return frechet_distance(self.real, gaussian_of(seen(self.extractor, samples)))


@dataclass(frozen=True, kw_only=True)
class Distances:
    """Fréchet distances of a sweep by one network."""

    extractor: Identity
    values: tuple[float, ...]
    """By guidance weight."""
    rank_deficient: bool
    """Whether there were no more images than numbers in a feature: the distances then have a large bias."""
    real: int
    """Real images."""
    floor: float | None
    """The same of real images in the place of the samples."""
    floor_images: int
    """How many stood in that place."""

    @property
    def name(self) -> str:
        """FID for Inception only, else as in FD-EffLite0."""
        return self.extractor.frechet


def yardstick(extractor: Extractor, real: Bytes, *, samples: int) -> Yardstick:
    """Looks at real images, once.

    Args:
        extractor: on the device where it is to look.
        real: real images ``(n, channels, height, width)``.
        samples: how many samples will be held against them at a time.

    Raises:
        ValueError: there are too few real images or samples.
    """
    require_enough(extractor.identity, samples, len(real))
    features = seen(extractor, real)
    parts = halves(features, samples, seed=0)
    return Yardstick(
        extractor=extractor,
        real=gaussian_of(features),
        images=len(real),
        floor=frechet_floor(parts),
        floor_images=0 if parts is None else len(parts.ones),
    )


def gathered(stick: Yardstick, found: Sequence[Frechet]) -> Distances:
    """The record of a sweep's distances."""
    return Distances(
        extractor=stick.extractor.identity,
        values=tuple(each.distance for each in found),
        rank_deficient=any(each.rank_deficient for each in found),
        real=stick.images,
        floor=stick.floor,
        floor_images=stick.floor_images,
    )


def seen(extractor: Extractor, images: Bytes) -> Features:
    """Features of images, float32 on the CPU, a batch at a time; on this process alone."""
    device = next((weight.device for weight in extractor.parameters()), torch.device("cpu"))
    return torch.cat([extractor(part.to(device)).features.float().cpu() for part in images.split(BATCH)])
