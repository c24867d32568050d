"""How often samples have each class, beside how often real images have it.

A Fréchet distance compares whole distributions, so classes that are too frequent among the samples count as an error of
the model. Of a set whose classes are about as large as each other, as ImageNet's are, samples have them in turn; of
others they should have them as often as the real images do.
"""

import heapq
from collections.abc import Sequence

import torch

from simflow.data.source import places_among, places_by_name
from simflow.evaluate.collect import Pictures
from simflow.shapes import NULL

APART = 0.1
"""Share of the samples that would have to be of another class, above which it is said."""


def apportioned(counts: Sequence[int], total: int) -> list[int]:
    """The classes of ``total`` samples, so that of the first of them, however many, each class has its share.

    The next sample is always of the class that Webster's method of apportionment gives the next seat: the one whose
    count over its samples and a half is the largest. Classes of equal counts come in turn.

    >>> apportioned([4, 2, 0], 6), apportioned([7, 7, 7], 4)
    ([0, 1, 0, 0, 1, 0], [0, 1, 2, 0])

    Raises:
        ValueError: all counts are 0.
    """
    if not any(counts):
        raise ValueError("no real image has a class, so samples cannot have theirs as often")
    next_of = [(-count / 0.5, label, 0.5) for label, count in enumerate(counts)]
    heapq.heapify(next_of)
    labels = []
    for _ in range(total):
        _, label, seats = next_of[0]
        labels.append(label)
        heapq.heapreplace(next_of, (-counts[label] / (seats + 1), label, seats + 1))
    return labels


def counts_of(pictures: Pictures, names: Sequence[str]) -> list[int] | None:
    """How many images have each of these classes; None if they have no classes, or some class that is none of these.

    Classes are the same if their names are; where one side has only numbers for names, if they are as many.
    """
    if not pictures.class_names or int(pictures.labels.min()) == NULL:
        return None
    places = places_among(pictures.class_names, names) or places_by_name(
        pictures.class_names, names, absent=NULL
    )
    labels = torch.tensor(places)[pictures.labels]
    return None if int(labels.min()) == NULL else torch.bincount(labels, minlength=len(names)).tolist()


def notes(samples: Pictures, real: Pictures | None, *, told: str = "") -> list[str]:
    """A sentence, with what is to be told besides, where so many samples could have classes in better proportion to
    those of real images; none where they could not, or where the classes of either are not known."""
    there = None if real is None else counts_of(real, samples.class_names)
    here = counts_of(samples, samples.class_names)
    if there is None or here is None:
        return []
    due = torch.bincount(torch.tensor(apportioned(there, len(samples))), minlength=len(there))
    surplus = torch.tensor(here) - due
    if float(surplus.clamp_min(0).sum()) <= APART * len(samples):
        return []
    worst = int(surplus.abs().argmax())
    shares = (
        f"{samples.class_names[worst]}: {here[worst] / sum(here):.2%} and {there[worst] / sum(there):.2%}"
    )
    return [
        f"classes are not as frequent among the samples as among the real images ({shares}), which distances count as "
        f"an error{told}"
    ]
