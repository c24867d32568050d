"""How far a figure may be off because these samples were drawn and not others: the bootstrap.

Samples are drawn again from the samples, with replacement, as many as there are; the standard deviation of the figure
over such draws estimates its standard error. The interval is ``value +- 1.96 errors`` and not a pair of percentiles:
a Fréchet distance of a resampled set is too large by the same kind of bias that small sets have, so its percentiles
lie above the figure they are meant to surround. The reference is taken as fixed, and so is the training of the model.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from simflow.frechet import Gaussian, Moments, overlap, square_root
from simflow.seeding import generator
from simflow.shapes import Features


def bootstrap(figure: Callable[[Tensor], float], count: int, *, resamples: int, seed: int) -> float | None:
    """Standard error of ``figure(numbers)``, a function of the numbers of ``count`` images drawn with replacement.

    None for fewer than two resamples. The same seed draws the same numbers.
    """
    if resamples < 2:
        return None
    draws = generator("bootstrap", seed)
    values = [figure(torch.randint(count, (count,), generator=draws)) for _ in range(resamples)]
    return torch.tensor(values, dtype=torch.float64).std().item()


def frechet_error(reference: Gaussian, samples: Features, *, resamples: int, seed: int) -> float | None:
    """Standard error of the Fréchet distance of samples from a fixed reference."""
    if resamples < 2:
        return None
    root = square_root(reference.covariance)
    trace = reference.covariance.trace()

    def distance(numbers: Tensor) -> float:
        moments = Moments(samples.shape[1])
        moments.add(samples[numbers])
        own = moments.gaussian()
        means = (own.mean - reference.mean).square().sum()
        return (means + trace + own.covariance.trace() - 2 * overlap(root, own.covariance)).item()

    return bootstrap(distance, len(samples), resamples=resamples, seed=seed)
