"""Samples against real images, and against a classifier of them: images in, JSON-able records out.

The parts of an evaluation are :func:`generation` and :func:`classes` here, ``reconstruction`` and ``likelihood`` in
:mod:`simflow.evaluate.unseen`, and ``memorisation`` in :mod:`simflow.evaluate.remembering`. All are collective: every
process calls them with the same arguments, they share the looking, and all get the same record; what only compares
numbers is done by rank 0 and sent around. Where images come from and how progress is shown, the caller says.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch

from simflow.data.order import spread
from simflow.data.source import differences_of_classes, places_among
from simflow.distributed import from_main
from simflow.evaluate.collect import Held, Pictures
from simflow.evaluate.desk import Desk, looked_at
from simflow.evaluate.extractors import Extractor
from simflow.evaluate.fidelity import taken
from simflow.evaluate.generation import GenerationConfig, judge, require_enough
from simflow.evaluate.recognition import LIMIT, fitted_to
from simflow.evaluate.reference import Archive, Reference, describe, of_archive, of_collected
from simflow.records import at
from simflow.shapes import NULL, Labels


class Real(NamedTuple):
    """Real images, statistics of them, or both, and what to call them."""

    pictures: Pictures | None
    archive: Archive | None
    source: str


def generation(
    extractors: Sequence[Extractor],
    samples: Pictures,
    real: Real,
    config: GenerationConfig,
    desk: Desk,
) -> tuple[list[dict[str, Any]], list[str]]:
    """One record an extractor, and a sentence for each that the reference does not serve.

    Raises:
        ValueError: the images differ in size, or there are too few.
    """
    require_same_size(samples, real)
    records, left_out = [], []
    for extractor in extractors:
        identity = extractor.identity
        if real.pictures is None and not (real.archive and real.archive.serves(extractor)):
            left_out.append(
                f"{identity.frechet} is left out: {real.source} holds statistics of other features than those of "
                f"{identity.name} with these weights, and no images to take them of"
            )
            continue
        require_enough(identity, len(samples), len(real.pictures) if real.pictures else None)
        extractor.to(desk.device)
        reference = reference_of(extractor, real, desk)
        require_enough(identity, len(samples), reference.count)
        seen = looked_at(extractor, samples, f"{identity.name}, samples", desk, probabilities=True)
        figures = from_main(partial(judge, identity, seen, reference, config))
        records.append({"extractor": describe(identity), "figures": [figure.to_dict() for figure in figures]})
        extractor.to("cpu")
    if records and size_of(real) is None:
        left_out.append(
            f"a check of sizes: {real.source} does not say of what size the images of its statistics were"
        )
    return records, left_out


def reference_of(extractor: Extractor, real: Real, desk: Desk) -> Reference:
    """What an extractor knows of the real images, by statistics if there are some of its own."""
    seen = None
    if real.pictures is not None:
        seen = looked_at(extractor, real.pictures, f"{extractor.identity.name}, real images", desk)
    if real.archive is not None and real.archive.serves(extractor):
        return of_archive(real.archive, seen)
    assert seen is not None
    return of_collected(seen)


def require_same_size(samples: Pictures, real: Real) -> None:
    """Refuses samples and real images of different height or width, of which one would have to be resized.

    Raises:
        ValueError: they differ.
    """
    own, other = tuple(samples.images([0]).shape[2:]), size_of(real)
    if other is not None and own != other:
        raise ValueError(
            f"the samples are {own[0]} x {own[1]} pixels and the images of {real.source} {other[0]} x {other[1]}: "
            "they are compared at one size only"
        )


def size_of(real: Real) -> tuple[int, int] | None:
    """Height and width of the real images; None if there are only statistics, and they do not say it."""
    if real.pictures is not None:
        height, width = real.pictures.images([0]).shape[2:]
        return height, width
    meta = {} if real.archive is None else real.archive.meta
    height, width = at(meta, "images.height"), at(meta, "images.width")
    return None if height is None or width is None else (height, width)


def classes(
    samples: Pictures, train: Pictures, held: Pictures | None
) -> tuple[dict[str, Any] | None, list[str]]:
    """Accuracy of a classifier fitted to training images, and diversity within classes; by rank 0.

    Held-out images, where there are any, say how often the classifier is right on real ones. Of each set up to
    :data:`~simflow.evaluate.recognition.LIMIT` images are used. Classes are known by their names, whatever their order.
    Without classes, or where all training images are of one, the accuracy is None; where the samples have other classes
    than the training images there is no record, and a sentence that says so.
    """
    return from_main(partial(_classes, samples, train, held))


def _classes(
    samples: Pictures, train: Pictures, held: Pictures | None
) -> tuple[dict[str, Any] | None, list[str]]:
    own, seen = _some(samples), _some(train)
    unseen = None if held is None else _some(held)
    labels = own.labels
    if len(train.class_names) > 1 and int(labels.min()) != NULL:
        labels = among(train, labels, own.class_names)
        if labels is None:
            where = ("among the samples", "among the images")
            told = differences_of_classes(own.class_names, train.class_names, where=where)
            return None, [
                f"class accuracy and diversity: the samples have other classes than the images: {told}"
            ]
    else:
        seen = replace(seen, class_names=())
    recogniser = fitted_to(seen)
    record: dict[str, Any] = {
        "method": f"logistic regression on pixels pooled by {recogniser.pool}, fitted to training images",
        "samples": len(own),
        "real": len(seen),
        "held_out": 0 if unseen is None else len(unseen),
        "accuracy": recogniser.accuracy(own.pixels, labels),
    }
    if record["accuracy"] is not None:
        record["accuracy_of_held_out"] = None
        if unseen is not None and (truth := among(train, unseen.labels, unseen.class_names)) is not None:
            record["accuracy_of_held_out"] = recogniser.accuracy(unseen.pixels, truth)
        by_class = recogniser.by_class(own.pixels, labels)
        record["by_class"] = {train.class_names[label]: share for label, share in by_class.items()}
    try:
        record["diversity"] = recogniser.diversity(own.pixels, labels)
    except ValueError as error:
        record["diversity"] = None
        return record, [str(error)]
    return record, []


def _some(pictures: Pictures) -> Held:
    """Up to ``LIMIT`` images, evenly spread."""
    return taken(pictures, spread(len(pictures), LIMIT))


def among(pictures: Pictures, labels: Labels, names: Sequence[str]) -> Labels | None:
    """Labels of classes of these names as those of ``pictures``, ``NULL`` as itself; None if ``pictures`` have
    other classes."""
    places = places_among(names, pictures.class_names)
    return None if places is None else torch.tensor([*places, NULL])[labels]
