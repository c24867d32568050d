"""The nearest training images of samples: does the model draw, or remember?

For each sample, the training images whose features are nearest, with their distances. A sample that copies a training
image lies much nearer to it than unseen real images lie to theirs, so the same distances of held-out images are the
yardstick: the *copying share* is the share of samples nearer to a training image than all but one in a hundred
held-out images are. 0.01 is what a model without memory would have; the picture shows which ones.

Features are average-pooled pixels unless an extractor's are given: pixels find copies, networks find look-alikes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from simflow.evaluate.features import Features, pool_for, pooled_pixels
from simflow.pixels import Bytes

ROWS = 1024


class Neighbours(NamedTuple):
    """Of each of ``m`` images, the ``k`` nearest others, nearest first."""

    indices: Int[Tensor, "m k"]
    distances: Float[Tensor, "m k"]
    """Euclidean, divided by the root of the number of features: root mean squared differences."""


@dataclass(frozen=True, kw_only=True)
class Memorisation:
    """Distances to the nearest training image, of samples and of held-out images."""

    samples_median: float
    held_out_median: float
    threshold: float
    """The distance below which one in a hundred held-out images lies."""
    copying_share: float
    """Share of samples below it."""
    least: float
    """Of all samples."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return vars(self).copy()


def nearest(features: Float[Tensor, "m d"], training: Features, *, k: int = 3) -> Neighbours:
    """The nearest training images of each feature; equal distances go by the training image's number.

    Raises:
        ValueError: there are fewer than ``k`` training images.
    """
    if not 1 <= k <= len(training):
        raise ValueError(f"{len(training)} training images have no {k} nearest ones")
    indices, distances = [], []
    for rows in features.double().split(ROWS):
        best = torch.full((len(rows), 0), torch.inf, dtype=torch.float64)
        place = torch.zeros(len(rows), 0, dtype=torch.int64)
        for start, columns in _blocks(training):
            found = torch.cat([best, torch.cdist(rows, columns)], dim=1)
            numbers = torch.arange(start, start + len(columns)).expand(len(rows), -1)
            order = found.argsort(dim=1, stable=True)[:, :k]
            best, place = found.gather(1, order), torch.cat([place, numbers], dim=1).gather(1, order)
        indices.append(place)
        distances.append(best / training.shape[1] ** 0.5)
    return Neighbours(torch.cat(indices), torch.cat(distances))


def memorisation(
    samples: Float[Tensor, " m"], held_out: Float[Tensor, " n"], *, quantile: float = 0.01
) -> Memorisation:
    """The record, from distances to the nearest training image."""
    threshold = held_out.double().quantile(quantile).item()
    return Memorisation(
        samples_median=samples.double().median().item(),
        held_out_median=held_out.double().median().item(),
        threshold=threshold,
        copying_share=(samples < threshold).double().mean().item(),
        least=samples.min().item(),
    )


def pixels(images: Bytes) -> Features:
    """Pooled pixels, by the pooling that suits the size."""
    return pooled_pixels(images, pool=pool_for(images.shape[-1]))


def _blocks(training: Tensor) -> Iterator[tuple[int, Tensor]]:
    for start in range(0, len(training), ROWS):
        yield start, training[start : start + ROWS].double()
