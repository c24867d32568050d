"""The inception score: are samples confidently classified, and is every class there?

``exp(mean over samples of KL(p(class|sample) || p(class)))`` with ``p(class)`` the mean of the conditionals
(Salimans et al. 2016, section 4). It is 1 if the classifier never hears anything from an image, and the
number of classes if it is always certain and all classes are equally frequent. It does not look at real
images. The usual classifier is Inception v3; any will do for comparisons of one's own.

By convention it is the mean over splits of the samples, in their order: 10 of 5 000 for 50 000 samples. The
score of a split grows with its size, so the size belongs to the figure; and if samples come sorted by class,
shuffle them first, since a split with few classes scores low.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class InceptionScore(NamedTuple):
    """Mean and standard deviation (with ``n``, not ``n - 1``, as is usual) over splits."""

    mean: float
    std: float


def inception_score(probabilities: Float[Tensor, "n classes"], *, splits: int = 10) -> InceptionScore:
    """The score of the classifier's probabilities.

    Args:
        probabilities: ``p(class|sample)``; rows that sum to 1.
        splits: contiguous parts, of sizes that differ by one at most.

    Raises:
        ValueError: a row is no distribution, or there are fewer samples than splits.
    """
    if splits < 1 or len(probabilities) < splits:
        raise ValueError(f"{len(probabilities)} samples cannot be divided into {splits} splits")
    p = probabilities.double()
    if not bool((p >= 0).all()) or not bool(((p.sum(dim=1) - 1).abs() < 1e-3).all()):
        raise ValueError("an inception score needs probabilities: no number below 0, and rows that sum to 1")
    scores = torch.stack([_score(part) for part in p.tensor_split(splits)])
    return InceptionScore(scores.mean().item(), scores.std(correction=0).item())


def _score(p: Tensor) -> Tensor:
    """``KL`` summed over classes is the entropy of the mean less the mean entropy."""
    entropy_of_mean = torch.special.entr(p.mean(dim=0)).sum()
    mean_entropy = torch.special.entr(p).sum(dim=1).mean()
    return torch.exp(entropy_of_mean - mean_entropy)
