"""The nearest training images of samples: does the model draw, or remember?

For each sample, the training images whose features are nearest, with their distances. A sample that copies a training
image lies much nearer to it than other real images lie to theirs, so the same distances of real images are the
yardstick: of held-out images, or where there are none, of training images to their nearest others. The *copying share*
is the share of samples as near to a training image as one in a hundred of those is. 0.01 is what a model without
memory would have; the picture shows which ones. A model that was trained on mirrored images as well may have learnt
these by heart, so a distance can be the smaller of two, to a training image and to its mirror image.

Features are average-pooled pixels unless an extractor's are given: pixels find copies, networks find look-alikes.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from simflow.evaluate.features import pool_for, pooled_pixels
from simflow.pixels import Bytes
from simflow.shapes import Features

ROWS = 1024


class Neighbours(NamedTuple):
    """Of each of ``m`` images, the ``k`` nearest others, nearest first."""

    indices: Int[Tensor, "m k"]
    distances: Float[Tensor, "m k"]
    """Euclidean, divided by the root of the number of features: root mean squared differences."""


@dataclass(frozen=True, kw_only=True)
class Memorisation:
    """Distances to the nearest training image, of samples and of the real images that are the yardstick."""

    samples_median: float
    yardstick_median: float
    threshold: float
    """The distance within which one in a hundred of the yardstick lies."""
    copying_share: float
    """Share of samples within it."""
    least: float
    """Of all samples."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return vars(self).copy()


def nearest(
    features: Float[Tensor, "m d"],
    training: Features,
    *,
    k: int = 3,
    mirrored: Features | None = None,
    leave_out: Int[Tensor, " m"] | None = None,
) -> Neighbours:
    """The nearest training images of each feature; equal distances go by the training image's number.

    Args:
        features: of the images asked about.
        training: features of the training images.
        k: how many.
        mirrored: features of the same training images, mirrored: the smaller distance of the two counts.
        leave_out: for each feature, the number of a training image that does not count, or -1: its own.

    Raises:
        ValueError: there are fewer than ``k`` training images.
    """
    there = len(training) - (leave_out is not None)
    if not 1 <= k <= there:
        raise ValueError(f"{there} training images have no {k} nearest ones")
    own = torch.full((len(features),), -1) if leave_out is None else leave_out
    indices, distances = [], []
    for rows, left_out in zip(features.double().split(ROWS), own.split(ROWS), strict=True):
        best = torch.full((len(rows), 0), torch.inf, dtype=torch.float64)
        place = torch.zeros(len(rows), 0, dtype=torch.int64)
        for start in range(0, len(training), ROWS):
            block = slice(start, start + ROWS)
            here = _distances(rows, training[block])
            if mirrored is not None:
                here = torch.minimum(here, _distances(rows, mirrored[block]))
            numbers = torch.arange(start, start + here.shape[1]).expand(len(rows), -1)
            here = here.masked_fill(numbers == left_out[:, None], torch.inf)
            found = torch.cat([best, here], dim=1)
            order = found.argsort(dim=1, stable=True)[:, :k]
            best, place = found.gather(1, order), torch.cat([place, numbers], dim=1).gather(1, order)
        indices.append(place)
        distances.append(best / training.shape[1] ** 0.5)
    return Neighbours(torch.cat(indices), torch.cat(distances))


def _distances(rows: Tensor, columns: Tensor) -> Tensor:
    """Without the matrix product that leaves copies at a distance of rounding instead of none."""
    return torch.cdist(rows, columns.double(), compute_mode="donot_use_mm_for_euclid_dist")


def memorisation(samples: Float[Tensor, " m"], yardstick: Float[Tensor, " n"]) -> Memorisation:
    """The record, from distances to the nearest training image."""
    threshold = yardstick.double().quantile(0.01).item()
    return Memorisation(
        samples_median=samples.double().median().item(),
        yardstick_median=yardstick.double().median().item(),
        threshold=threshold,
        copying_share=(samples <= threshold).double().mean().item(),
        least=samples.min().item(),
    )


def pixels(images: Bytes) -> Features:
    """Pooled pixels, by the pooling that suits the size."""
    return pooled_pixels(images, pool=pool_for(images.shape[-1]))
