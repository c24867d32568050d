"""How far a figure may be off because these images were drawn and not others: the jackknife.

Images are put into groups by lot, each group is left out once, and the figure is taken without it. With ``G`` groups
the square of the standard error is estimated by ``(G - 1) / G`` times the sum of squares of these figures about their
mean (Tukey 1958; Efron and Tibshirani 1993, section 11.5). What depends on several images at once, such as a covariance
or a region of nearest neighbours, is taken anew without the group; what belongs together, such as an image and its
reconstruction, is left out together. The interval is ``value +- 1.96 errors``.

The reference is taken as fixed, unless its images are left out too, and so is the training of the model. Where a figure
is not smooth in the images, as recall and coverage are, the error is too large in the mean, and not too small (Efron
and Stein 1981).
"""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from simflow.frechet import Gaussian, Moments, frechet_distance, overlap, square_root
from simflow.seeding import generator
from simflow.shapes import Features


def divided(count: int, groups: int, *, seed: int) -> list[Int[Tensor, " _"]]:
    """The numbers of ``count`` images in so many groups by lot, whose sizes differ by one at most.

    Fewer groups where there are fewer images; none where there would be fewer than two. The same seed draws the same.
    """
    if min(count, groups) < 2:
        return []
    order = torch.randperm(count, generator=generator("groups", seed))
    return list(order.tensor_split(min(count, groups)))


def jackknife(without: Sequence[float]) -> float | None:
    """Standard error of a figure, from what it is without each group; None where nothing was left out.

    >>> jackknife([1.0, 2.0, 3.0])  # means without each of 4, 2 and 0: their deviation over the root of three
    1.1547005383792515
    """
    if not without:
        return None
    values = torch.tensor(without, dtype=torch.float64)
    return (values.var(correction=0) * (len(values) - 1)).sqrt().item()


def frechet_error(reference: Gaussian, samples: Features, *, groups: int, seed: int) -> float | None:
    """Standard error of the Fréchet distance of samples from a fixed reference; None for fewer than two groups."""
    parts = divided(len(samples), groups, seed=seed)
    if not parts:
        return None
    root, trace = square_root(reference.covariance), reference.covariance.trace()

    def distance(own: Gaussian) -> float:
        means = (own.mean - reference.mean).square().sum()
        return (means + trace + own.covariance.trace() - 2 * overlap(root, own.covariance)).item()

    return jackknife([distance(own) for own in _without_each(samples, parts)])


def paired_error(originals: Features, images: Features, *, groups: int, seed: int) -> float | None:
    """The same of the distance between images and the originals that they were made of, row by row."""
    parts = divided(len(images), groups, seed=seed)
    pairs = zip(_without_each(originals, parts), _without_each(images, parts), strict=True)
    return jackknife([frechet_distance(one, other).distance for one, other in pairs])


def _without_each(features: Features, parts: Sequence[Int[Tensor, " _"]]) -> Iterator[Gaussian]:
    whole = Moments(features.shape[1])
    whole.add(features)
    for part in parts:
        yield whole.without(features[part]).gaussian()
