"""The sheets that commands write: samples in rows by class, and which images are worth keeping for one."""

from collections.abc import Sequence

import torch
from PIL import Image

from simflow.export import enlargement, grid, labelled_grid
from simflow.model import Facts, Model
from simflow.pixels import Bytes
from simflow.sample import SampleConfig, sample_all
from simflow.shapes import NULL

COLUMNS = 10
"""Images in a row of a sheet."""

ROWS = 20
"""Most rows of a sheet: classes, or tens of images without any."""


def chosen(labels: Sequence[int]) -> list[int]:
    """Which images a sheet shows: the first ``COLUMNS`` of each of the first ``ROWS`` classes; without classes,
    the first ``COLUMNS * ROWS``.

    >>> chosen([1, 0, 1])
    [0, 1, 2]
    """
    counts: dict[int, int] = {}
    kept = []
    for number, label in enumerate(labels):
        limit = COLUMNS * ROWS if label == NULL else COLUMNS
        if (label in counts or len(counts) < ROWS) and counts.get(label, 0) < limit:
            counts[label] = counts.get(label, 0) + 1
            kept.append(number)
    return kept


def sheet(images: Bytes, labels: Sequence[int], facts: Facts) -> Image.Image:
    """Images in rows by class, the names at the left; a plain grid if none has a class."""
    scale = enlargement(facts.image_size)
    if set(labels) == {NULL}:
        return grid(images, COLUMNS, scale=scale)
    rows = {}
    for label in sorted(set(labels)):
        name = "no class" if label == NULL else facts.class_names[label]
        rows[name] = images[torch.tensor([other == label for other in labels])][:COLUMNS]
    return labelled_grid(rows, scale=scale)


def sampled_sheet(model: Model, config: SampleConfig) -> Image.Image:
    """A sheet of fresh samples, the seeds ``0, 1, ...``: eight of each of the first ten classes, or 40 images."""
    classes = len(model.facts.class_names)
    labels = [label for label in range(min(classes, 10)) for _ in range(8)] or [NULL] * 40
    images = sample_all(model, seeds=range(len(labels)), labels=labels, config=config)
    return sheet(images, labels, model.facts)
