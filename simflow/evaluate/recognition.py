"""Class accuracy and diversity: whether pictures are recognised as of their class, and how much they vary within it.

Both are judged against training images, which a :class:`Recogniser` has looked at once: they are what its classifier
is fitted to (:mod:`simflow.evaluate.classify`) and what is as diverse as 1 (:mod:`simflow.evaluate.diversity`). The two
belong together: a model that draws one perfect picture a class is always recognised, and noise is always diverse.
"""

from dataclasses import dataclass

import torch

from simflow.data.order import spread
from simflow.evaluate.classify import Classifier, fit
from simflow.evaluate.collect import Pictures
from simflow.evaluate.diversity import diversity
from simflow.evaluate.features import pool_for, pooled_pixels
from simflow.evaluate.fidelity import taken
from simflow.pixels import Bytes
from simflow.shapes import NULL, Features, Labels

LIMIT = 10_000
"""Most images of a set that are looked at, unless something else is said."""


@dataclass(frozen=True, kw_only=True)
class Recogniser:
    """What is known of training images; made by :func:`fitted_to`."""

    classifier: Classifier | None
    """Of the training images that have a class; None if these are not of two at least."""
    pool: int
    """The side of the squares of pixels that are seen as one (:mod:`simflow.evaluate.features`)."""
    features: Features
    """Pooled pixels of the training images."""
    labels: Labels
    """And their classes."""

    def accuracy(self, images: Bytes, labels: Labels) -> float | None:
        """Share of images that are recognised as of their class, of those that have one; None without classes."""
        known = labels != NULL
        if self.classifier is None or not bool(known.any()):
            return None
        return self.classifier.accuracy(images[known], labels[known])

    def by_class(self, images: Bytes, labels: Labels) -> dict[int, float]:
        """:meth:`accuracy` within each class that occurs; nothing without classes."""
        classifier = self._classifier_of(labels)
        return {} if classifier is None else classifier.accuracies(images, labels)

    def diversity(self, images: Bytes, labels: Labels) -> float:
        """Distances within a class over those of the training images; without classes, of all images.

        Raises:
            ValueError: no class has two images and two different training images.
        """
        drawn, own = pooled_pixels(images, pool=self.pool), self.labels
        if self._classifier_of(labels) is None:
            labels, own = torch.full_like(labels, NULL), torch.full_like(own, NULL)
        return diversity(drawn, labels, self.features, own)

    def _classifier_of(self, labels: Labels) -> Classifier | None:
        """The classifier, if all of these labels are classes."""
        return self.classifier if int(labels.min()) != NULL else None


def fitted_to(train: Pictures, *, limit: int = LIMIT) -> Recogniser:
    """Looks at training images, at evenly spread ones if there are more than ``limit``."""
    seen = taken(train, spread(len(train), limit))
    pool, known = pool_for(seen.pixels.shape[-1]), seen.labels != NULL
    several = len(seen.class_names) > 1 and has_several(seen.labels)
    return Recogniser(
        classifier=fit(seen.pixels[known], seen.labels[known], pool=pool) if several else None,
        pool=pool,
        features=pooled_pixels(seen.pixels, pool=pool),
        labels=seen.labels,
    )


def has_several(labels: Labels) -> bool:
    """Whether images of two classes at least are there, as a classifier needs them.

    >>> has_several(torch.tensor([1, NULL, 1])), has_several(torch.tensor([1, 0]))
    (False, True)
    """
    return len(labels[labels != NULL].unique()) > 1
