"""The sheets that commands write: samples in rows by class, which images are worth keeping for one, and pairs.

Classes of one family share a row.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from simflow.data.order import spread
from simflow.data.source import distinct
from simflow.evaluate.collect import Pictures
from simflow.export import can_draw, enlargement, grid, labelled_grid, pairs_grid
from simflow.model import Facts, Model
from simflow.pixels import Bytes
from simflow.sample import SampleConfig, sample_all
from simflow.shapes import NULL
from simflow.turns import label_of

COLUMNS = 10
"""Images in a row of a sheet."""

PAIRS = 4 * COLUMNS
"""Images that are shown with their reconstructions, of many."""

ROWS = 20
"""Most rows of a sheet: classes or families, or tens of images without any."""


def require_png(path: Path) -> None:
    """Refuses names that promise another format than that of :func:`~simflow.export.save_picture`.

    Raises:
        ValueError: the name does not end in ``.png``.
    """
    if path.suffix.lower() != ".png":
        raise ValueError(f"the picture is a PNG file, so its name must end in .png, not be '{path.name}'")


def chosen(labels: Sequence[int], facts: Facts) -> list[int]:
    """Which images a sheet shows: the first ``COLUMNS`` of each of the first ``ROWS`` classes or families; without
    classes, the first ``COLUMNS * ROWS``.

    >>> chosen([1, 0, 1], Facts(image_size=8, channels=1, class_names=("bag", "boot")))
    [0, 1, 2]
    """
    counts: dict[str | None, int] = {}
    kept = []
    for number, label in enumerate(labels):
        row = None if label == NULL else facts.family_of(label)
        limit = COLUMNS * ROWS if row is None else COLUMNS
        if (row in counts or len(counts) < ROWS) and counts.get(row, 0) < limit:
            counts[row] = counts.get(row, 0) + 1
            kept.append(number)
    return kept


def sheet(images: Bytes, labels: Sequence[int], facts: Facts) -> Image.Image:
    """Images in rows by class or family, the names at the left, or the numbers of classes whose names no font can draw;
    a plain grid if none has a class."""
    scale = enlargement(facts.image_size)
    if set(labels) == {NULL}:
        return grid(images, COLUMNS, scale=scale)
    facts = replace(facts, class_names=distinct(facts.class_names))
    rows = {}
    for name, own in {"no class": (NULL,), **facts.families}.items():
        shown = [number for number, label in enumerate(labels) if label in own]
        if shown:
            rows[name if can_draw(name) else f"class {own[0]}"] = images[shown[:COLUMNS]]
    return labelled_grid(rows, scale=scale)


def sheet_of(pictures: Pictures, facts: Facts) -> Image.Image:
    """A sheet of those of many images that are :func:`chosen`."""
    shown = chosen(pictures.labels.tolist(), facts)
    return sheet(pictures.images(shown), pictures.labels[shown].tolist(), facts)


def pairs(originals: Bytes, reconstructions: Bytes) -> Image.Image:
    """Originals, each above its reconstruction."""
    scale = enlargement(originals.shape[-1])
    return pairs_grid(originals, reconstructions, columns=2 * COLUMNS, scale=scale)


def pairs_of(originals: Pictures, reconstructions: Pictures) -> Image.Image:
    """:data:`PAIRS` of many originals, evenly spread, each above its reconstruction."""
    some = spread(len(originals), PAIRS)
    return pairs(originals.images(some), reconstructions.images(some))


def sampled_sheet(model: Model, config: SampleConfig) -> Image.Image:
    """A sheet of fresh samples, the seeds ``0, 1, ...``: eight of each of the first ten classes or families, or 40
    images."""
    rows = [model.facts.turns_of(family) for family in model.facts.families][:10]
    labels = [label_of([own], number) for own in rows for number in range(8)] or [NULL] * 40
    images = sample_all(model, seeds=range(len(labels)), labels=labels, config=config)
    return sheet(images, labels, model.facts)
