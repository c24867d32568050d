"""How different samples of one class are from each other, beside real images of that class.

A generator can please a classifier by drawing one perfect trouser again and again. The distance between two
images of a class tells: for class ``c`` let ``d_c`` be the mean Euclidean distance of its pooled pixels over
all unordered pairs of different images of the set. The *diversity* of samples is

    sum over classes of d_c(samples)  /  sum over classes of d_c(real),

over the classes with at least two images on both sides: 1 is as varied as the real images, 0 a single picture
a class. Blur lowers it, noise raises it, so it says nothing by itself; read it beside the classifier's
accuracy. Images without classes (all labels ``NULL``) count as one class.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from simflow.shapes import Features


def within_class_distances(features: Features, labels: Int[Tensor, " n"]) -> dict[int, float]:
    """``d_c`` by label, for the classes of at least two images.

    Args:
        features: ``(n, d)``; all pairs of a class are held at once, 4 bytes each.
        labels: ``(n,)``.
    """
    classes, counts = labels.unique(return_counts=True)
    return {
        int(c): F.pdist(features[labels == c]).mean(dtype=torch.float64).item() for c in classes[counts > 1]
    }


def diversity(
    samples: Features,
    sample_labels: Int[Tensor, " n"],
    real: Float[Tensor, "m d"],
    real_labels: Int[Tensor, " m"],
) -> float:
    """The ratio above, from features of samples and of real images.

    Raises:
        ValueError: no class has two different real images and two samples.
    """
    drawn = within_class_distances(samples, sample_labels)
    seen = within_class_distances(real, real_labels)
    both = sorted(drawn.keys() & seen.keys())
    total = sum(seen[label] for label in both)
    if total == 0:
        raise ValueError("diversity needs a class with at least two samples and two different real images")
    return sum(drawn[label] for label in both) / total
