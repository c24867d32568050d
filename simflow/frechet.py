"""The Fréchet distance between two sets of features, each taken for a Gaussian.

By Heusel et al. 2017, Eq. 6::

    |m1 - m2|^2 + tr(S1) + tr(S2) - 2 tr((S1 S2)^(1/2))

with means ``m`` and covariances ``S``. With Inception features it is the FID. Features arrive in batches and
are kept as a mean and a scatter matrix in float64 (:class:`Moments`), so memory does not grow with their
number, and processes can be merged.

``S1 S2`` is not symmetric, and general matrix square roots of it fail without a word when it is singular. Its
eigenvalues are those of the symmetric ``S1^(1/2) S2 S1^(1/2)``, none negative, so the last trace is the sum
of their roots. The distance of ``n`` images from the truth is too large by something like ``1 / n``, so
compare only distances of equally many images; with no more images than dimensions a covariance is singular
besides, and ``rank_deficient`` says so.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from simflow.shapes import Features


class Gaussian(NamedTuple):
    """Mean and covariance, float64, of features taken for normally distributed."""

    mean: Float[Tensor, " d"]
    covariance: Float[Tensor, "d d"]
    rank_deficient: bool = False
    """Whether there were too few features for the covariance to have full rank."""


class Frechet(NamedTuple):
    """A Fréchet distance and its two parts: ``distance = means + covariances``."""

    distance: float
    means: float
    """``|m1 - m2|^2``."""
    covariances: float
    """What remains; at least 0."""
    rank_deficient: bool
    """Whether either covariance is that of no more features than dimensions."""


class Moments:
    """Count, mean and scatter of features of ``dimension`` numbers, gathered batch by batch in float64.

    Batches are joined by the formula of Chan, Golub and LeVeque (1979), which subtracts no large numbers
    from each other; how the features were split changes the result by rounding only.
    """

    def __init__(self, dimension: int, *, device: torch.device | str = "cpu") -> None:
        self.count = 0
        self.mean = torch.zeros(dimension, dtype=torch.float64, device=device)
        self.scatter = torch.zeros(dimension, dimension, dtype=torch.float64, device=device)

    def add(self, features: Features) -> None:
        """Takes in a batch ``(n, d)``.

        Raises:
            ValueError: a feature is infinite or not a number, or of another dimension.
        """
        if features.shape[1] != len(self.mean):
            raise ValueError(
                f"features of {features.shape[1]} numbers cannot join features of {len(self.mean)}"
            )
        if not bool(features.isfinite().all()):
            raise ValueError("a feature is infinite or not a number, so its images have no Fréchet distance")
        if len(features) == 0:
            return
        wide = features.to(self.mean)
        mean = wide.mean(dim=0)
        centred = wide - mean
        self._join(len(wide), mean, centred.T @ centred)

    def merge(self, other: "Moments") -> None:
        """Takes in all that another accumulator has seen."""
        if other.count:
            self._join(other.count, other.mean.to(self.mean), other.scatter.to(self.scatter))

    def without(self, features: Features) -> "Moments":
        """What this would be without these, which it has seen."""
        gone = Moments(len(self.mean), device=self.mean.device)
        gone.add(features)
        rest = Moments(len(self.mean), device=self.mean.device)
        rest.count = self.count - gone.count
        rest.mean = self.mean + (self.mean - gone.mean) * (gone.count / rest.count)
        step = gone.mean - rest.mean
        joined = torch.outer(step, step) * (rest.count * gone.count / self.count)
        rest.scatter = self.scatter - gone.scatter - joined
        return rest

    def of_all(self, gather: Callable[[Tensor], Tensor]) -> "Moments":
        """What the accumulators of all processes have seen, on the CPU; they stay as they are.

        ``gather`` puts the rows of all processes one below the other, likewise there.
        """
        counts = gather(torch.tensor([self.count])).tolist()
        means, scatters = (gather(each[None].cpu()) for each in (self.mean, self.scatter))
        whole = Moments(len(self.mean))
        for count, mean, scatter in zip(counts, means, scatters, strict=True):
            part = Moments(len(mean))
            part.count, part.mean, part.scatter = count, mean, scatter
            whole.merge(part)
        return whole

    def gaussian(self) -> Gaussian:
        """Mean and unbiased covariance.

        Raises:
            ValueError: there are fewer than two features.
        """
        if self.count < 2:
            raise ValueError(f"a covariance needs at least 2 images, and there are {self.count}")
        return Gaussian(self.mean.clone(), self.scatter / (self.count - 1), self.count <= len(self.mean))

    def _join(self, count: int, mean: Tensor, scatter: Tensor) -> None:
        total = self.count + count
        step = mean - self.mean
        self.mean = self.mean + step * (count / total)
        self.scatter = self.scatter + scatter + torch.outer(step, step) * (self.count * count / total)
        self.count = total


def frechet_distance(one: Gaussian, other: Gaussian) -> Frechet:
    """The distance above; symmetric, and 0 for equal Gaussians, up to rounding.

    Raises:
        ValueError: the dimensions differ.
    """
    if one.mean.shape != other.mean.shape:
        raise ValueError(
            f"features of {len(one.mean)} and {len(other.mean)} numbers have no Fréchet distance"
        )
    covered = overlap(square_root(one.covariance), other.covariance)
    traces = one.covariance.double().trace() + other.covariance.double().trace()
    means = (one.mean.double() - other.mean.double()).square().sum().item()
    covariances = max((traces - 2 * covered).item(), 0.0)
    return Frechet(means + covariances, means, covariances, one.rank_deficient or other.rank_deficient)


def square_root(covariance: Float[Tensor, "d d"]) -> Float[Tensor, "d d"]:
    """The symmetric square root of a covariance, float64."""
    values, vectors = torch.linalg.eigh(covariance.double())
    return (vectors * _roots(values)) @ vectors.T


def overlap(root: Float[Tensor, "d d"], covariance: Float[Tensor, "d d"]) -> Float[Tensor, ""]:
    """``tr((S1 S2)^(1/2))`` from the square root of the one and the other itself."""
    product = root @ covariance.double() @ root
    return _roots(torch.linalg.eigvalsh((product + product.T) / 2)).sum()


def _roots(values: Tensor) -> Tensor:
    """Square roots of the eigenvalues of a non-negative matrix; those within rounding of 0 become 0."""
    rounding = len(values) * torch.finfo(values.dtype).eps * values.abs().max()
    return torch.where(values > rounding, values, 0.0).sqrt()
