"""The sheets that commands write: samples in rows by class, and which images are worth keeping for one."""

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

from simflow.data.source import distinct
from simflow.export import can_draw, enlargement, grid, labelled_grid
from simflow.model import Facts, Model
from simflow.pixels import Bytes
from simflow.sample import SampleConfig, sample_all
from simflow.shapes import NULL

COLUMNS = 10
"""Images in a row of a sheet."""

ROWS = 20
"""Most rows of a sheet: classes, or tens of images without any."""


def require_png(path: Path) -> None:
    """Refuses names that promise another format than that of :func:`~simflow.export.save_picture`.

    Raises:
        ValueError: the name does not end in ``.png``.
    """
    if path.suffix.lower() != ".png":
        raise ValueError(f"the picture is a PNG file, so its name must end in .png, not be '{path.name}'")


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
    """Images in rows by class, the names at the left, or the numbers of classes whose names no font can draw; a plain
    grid if none has a class."""
    scale = enlargement(facts.image_size)
    if set(labels) == {NULL}:
        return grid(images, COLUMNS, scale=scale)
    names, rows = distinct(facts.class_names), {}
    for label in sorted(set(labels)):
        name = "no class" if label == NULL else names[label]
        name = name if can_draw(name) else f"class {label}"
        rows[name] = images[torch.tensor([other == label for other in labels])][:COLUMNS]
    return labelled_grid(rows, scale=scale)


def sampled_sheet(model: Model, config: SampleConfig) -> Image.Image:
    """A sheet of fresh samples, the seeds ``0, 1, ...``: eight of each of the first ten classes, or 40 images."""
    classes = len(model.facts.class_names)
    labels = [label for label in range(min(classes, 10)) for _ in range(8)] or [NULL] * 40
    images = sample_all(model, seeds=range(len(labels)), labels=labels, config=config)
    return sheet(images, labels, model.facts)
