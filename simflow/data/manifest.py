"""Labels from a ``dataset.json``, the format of StyleGAN, EDM and their successors.

The file stands beside the images and holds ``{"labels": [["00000/img00000000.png", 3], ...]}``, with paths
relative to itself, or ``{"labels": null}`` for a set without classes. A ``classes.txt`` in the same place,
one name a line, gives the numbers names.
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from simflow.data.source import Files, name_classes
from simflow.shapes import NULL

FILE = "dataset.json"


def find(files: Files) -> str | None:
    """The name of the outermost ``dataset.json``, or None."""
    found = [name for name in files.sizes if name == FILE or name.endswith("/" + FILE)]
    return min(found, key=lambda name: (name.count("/"), name), default=None)


def read(
    files: Files, listing: str, names: Sequence[str], *, where: str
) -> tuple[Sequence[int], tuple[str, ...]]:
    """The class of each image in ``names`` and the names of the classes.

    Raises:
        ValueError: if the file is not of this format, or an image has no label in it.
    """
    labels = _labels(files.read(listing), where=f"{listing} of {where}")
    if labels is None:
        return [NULL] * len(names), ()
    folder = listing.removesuffix(FILE)
    keys = [name.removeprefix(folder) for name in names]
    missing = [key for key in keys if key not in labels]
    if missing:
        raise ValueError(
            f"{listing} of {where} has no label for {missing[0]} ({len(missing)} images have none)."
        )
    numbers = np.asarray([labels[key] for key in keys], dtype=np.int64)
    classes_txt = folder + "classes.txt"
    text = files.read(classes_txt).decode() if classes_txt in files.sizes else None
    return numbers.tolist(), name_classes(numbers, text, where=where)


def _labels(content: bytes, *, where: str) -> dict[str, int] | None:
    """The labels by path, or None if the set has no classes."""
    complaint = f'{where} must be {{"labels": [[path, class number], ...]}} or {{"labels": null}}.'
    try:
        parsed: Any = json.loads(content)
    except ValueError as error:
        raise ValueError(f"{where} is not JSON: {error}.") from error
    if not isinstance(parsed, dict) or "labels" not in parsed:
        raise ValueError(complaint)
    pairs = parsed["labels"]
    if pairs is None:
        return None
    if not isinstance(pairs, list) or not all(_is_pair(pair) for pair in pairs):
        raise ValueError(complaint)
    return {path.replace("\\", "/"): label for path, label in pairs}


def _is_pair(pair: Any) -> bool:
    match pair:
        case [str(), bool()]:
            return False
        case [str(), int()]:
            return True
    return False
