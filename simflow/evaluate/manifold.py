"""Precision and recall, density and coverage: do samples lie where images lie, and the other way round.

The region of a set of features is the union of a ball around each, reaching to its ``k``-th nearest
neighbour within the set. With real features ``X`` (``n``) and samples ``Y`` (``m``):

- *precision*: share of samples inside the region of the real images (Kynkäänniemi et al. 2019, Eq. 1 and 2);
- *recall*: share of real images inside the region of the samples;
- *density*: number of real balls a sample lies in, over ``k``, mean over samples; it can exceed 1, and one
  outlier among the real images no longer makes a region of its own (Naeem et al. 2020, Eq. 3);
- *coverage*: share of real balls that hold a sample (the same, Eq. 4).

Distances are taken in float64 by blocks of rows, so memory grows with ``n``, not with its square. All four
depend on the number of features and on ``k``: compare like with like.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from simflow.shapes import Features

ROWS = 1024
"""Rows of a distance matrix held at once."""


class Manifold(NamedTuple):
    """The four measures, as defined at the top of this file."""

    precision: float
    recall: float
    density: float
    coverage: float


def compare(real: Features, samples: Float[Tensor, "m d"], *, k: int = 3) -> Manifold:
    """Precision, recall, density and coverage of samples against real images.

    Args:
        real: ``(n, d)``.
        samples: ``(m, d)``.
        k: which neighbour a ball reaches to, not counting its centre; 3 is usual for precision and recall, 5
            for density and coverage.

    Raises:
        ValueError: ``k`` is less than 1, or a set has no more than ``k`` features.
    """
    if k < 1 or min(len(real), len(samples)) <= k:
        raise ValueError(
            f"balls that reach to neighbour {k} need more than {k} images on both sides and at least neighbour "
            f"1, and there are {len(real)} real images and {len(samples)} samples"
        )
    real, samples = real.double(), samples.double()
    real_radii, sample_radii = radii(real, k=k), radii(samples, k=k)
    balls, inside_a_sample, covered = real.new_zeros(len(samples)), [], []
    for rows, reach in zip(real.split(ROWS), real_radii.split(ROWS), strict=True):
        distances = torch.cdist(rows, samples)
        inside = distances <= reach[:, None]
        balls += inside.sum(dim=0)
        covered.append(inside.any(dim=1))
        inside_a_sample.append((distances <= sample_radii).any(dim=1))
    return Manifold(
        precision=(balls > 0).double().mean().item(),
        recall=torch.cat(inside_a_sample).double().mean().item(),
        density=balls.mean().item() / k,
        coverage=torch.cat(covered).double().mean().item(),
    )


def radii(features: Features, *, k: int) -> Float[Tensor, " n"]:
    """Distance of each feature to its ``k``-th nearest neighbour among the others."""
    found = []
    for start in range(0, len(features), ROWS):
        distances = torch.cdist(features[start : start + ROWS], features)
        itself = torch.arange(len(distances), device=features.device)
        distances[itself, start + itself] = torch.inf
        found.append(distances.kthvalue(k, dim=1).values)
    return torch.cat(found)
