"""The kernel distance: a squared maximum mean discrepancy between two sets of features.

With Inception features it is the KID (Bińkowski et al. 2018, section 4). The kernel of two features of ``d``
numbers is ``k(x, y) = (x . y / d + 1)^3``, which compares means, covariances and third moments. The estimate
over ``n`` real features and ``m`` samples leaves the diagonals out,

    sum_{i != j} k(x_i, x_j) / (n (n - 1))  +  sum_{i != j} k(y_i, y_j) / (m (m - 1))  -  2 mean k(x_i, y_j),

and is therefore unbiased at any size, unlike the Fréchet distance: its expectation is 0 for equal
distributions, so single values may be negative.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from simflow.shapes import Features


class KernelDistance(NamedTuple):
    """Mean and standard deviation (with ``n - 1``; 0 for one subset) over subsets."""

    mean: float
    std: float


def squared_mmd(real: Features, samples: Float[Tensor, "m d"]) -> float:
    """The unbiased estimate above, in float64, with all features.

    Raises:
        ValueError: a set has fewer than two features.
    """
    if min(len(real), len(samples)) < 2:
        raise ValueError("a kernel distance needs at least two images on both sides")
    x, y = real.double(), samples.double()
    return (_within(x) + _within(y) - 2 * _kernel(x, y).mean()).item()


def kernel_distance(
    real: Features,
    samples: Float[Tensor, "m d"],
    generator: Generator,
    *,
    subsets: int = 100,
    size: int = 1000,
) -> KernelDistance:
    """:func:`squared_mmd` of random subsets, without replacement within a subset.

    Args:
        real: ``(n, d)``.
        samples: ``(m, d)``.
        generator: on the CPU; draws the subsets.
        subsets: how many.
        size: features of each side in a subset.

    Raises:
        ValueError: a set has fewer than ``size`` features, or a number is too small.
    """
    if subsets < 1 or size < 2:
        raise ValueError(f"a kernel distance needs at least 1 subset of 2 images, not {subsets} of {size}")
    if min(len(real), len(samples)) < size:
        raise ValueError(
            f"subsets of {size} images cannot be drawn from {len(real)} real images and {len(samples)} samples"
        )
    values = torch.tensor(
        [squared_mmd(_draw(real, size, generator), _draw(samples, size, generator)) for _ in range(subsets)],
        dtype=torch.float64,
    )
    return KernelDistance(values.mean().item(), values.std().item() if subsets > 1 else 0.0)


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3


def _within(x: Tensor) -> Tensor:
    """Mean of the kernel over ordered pairs of different features."""
    kernel = _kernel(x, x)
    return (kernel.sum() - kernel.trace()) / (len(x) * (len(x) - 1))


def _draw(features: Tensor, size: int, generator: Generator) -> Tensor:
    return features[torch.randperm(len(features), generator=generator)[:size].to(features.device)]
