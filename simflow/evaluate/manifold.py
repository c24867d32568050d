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

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
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
    """Precision, recall, density and coverage of samples against real images; see :func:`compare_without`."""
    return compare_without(real, samples, (), k=k)[0]


def compare_without(
    real: Features, samples: Float[Tensor, "m d"], groups: Sequence[Int[Tensor, " _"]], *, k: int
) -> list[Manifold]:
    """The measures of all samples, and of those without each group, whose regions are their own.

    Args:
        real: ``(n, d)``.
        samples: ``(m, d)``.
        groups: numbers of samples, each in one group; or none.
        k: which neighbour a ball reaches to, not counting its centre; 3 is usual for precision and recall, 5
            for density and coverage.

    Raises:
        ValueError: ``k`` is less than 1, or a set has no more than ``k`` features, also without a group.
    """
    fewest = len(samples) - max(map(len, groups), default=0)
    if k < 1 or min(len(real), fewest) <= k:
        raise ValueError(
            f"balls that reach to neighbour {k} need more than {k} images on both sides and at least neighbour "
            f"1, and there are {len(real)} real images and {fewest} samples"
        )
    real, samples = real.double(), samples.double()
    kept = samples.new_ones(1 + len(groups), len(samples))
    for row, group in enumerate(groups, start=1):
        kept[row, group] = 0
    real_radii, sample_radii = radii(real, k=k)[0], radii(samples, groups, k=k)
    balls, covered, reached = real.new_zeros(len(samples)), [], []
    for rows, reach in zip(real.split(ROWS), real_radii.split(ROWS), strict=True):
        distances = torch.cdist(rows, samples)
        inside = (distances <= reach[:, None]).double()
        balls += inside.sum(dim=0)
        covered.append(inside @ kept.T > 0)
        reached.append(torch.stack([(distances <= each).any(dim=1) for each in sample_radii], dim=1))
    counts = kept.sum(dim=1)
    precision, density = kept @ (balls > 0).double() / counts, kept @ balls / counts / k
    recall, coverage = (torch.cat(each).double().mean(dim=0) for each in (reached, covered))
    columns = (each.tolist() for each in (precision, recall, density, coverage))
    return [Manifold(*row) for row in zip(*columns, strict=True)]


def radii(
    features: Features, groups: Sequence[Int[Tensor, " _"]] = (), *, k: int
) -> Float[Tensor, "left_out n"]:
    """Distance of each feature to its ``k``-th nearest neighbour among the others, and among those without each group.

    In the row of a group its own features have -1, a ball that holds nothing. The ``k`` nearest of all but one group
    are among the ``k`` nearest of each, so distances are taken once.
    """
    parts = groups or [torch.arange(len(features))]
    found = []
    for start in range(0, len(features), ROWS):
        distances = torch.cdist(features[start : start + ROWS], features)
        itself = torch.arange(len(distances), device=features.device)
        distances[itself, start + itself] = torch.inf
        nearest = distances.new_full((len(distances), len(parts), k), torch.inf)
        for number, part in enumerate(parts):
            few = min(k, len(part))
            nearest[:, number, :few] = distances[:, part].topk(few, dim=1, largest=False).values
        rows = [nearest]
        for number in range(len(groups)):
            rows.append(torch.cat((nearest[:, :number], nearest[:, number + 1 :]), dim=1))
        found.append(torch.stack([row.flatten(1).kthvalue(k, dim=1).values for row in rows]))
    whole = torch.cat(found, dim=1)
    for row, group in enumerate(groups, start=1):
        whole[row, group] = -1
    return whole
