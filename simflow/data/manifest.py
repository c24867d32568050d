"""Labels from a ``dataset.json``, the format of StyleGAN, EDM and their successors.

The file stands beside the images and holds ``{"labels": [["00000/img00000000.png", 3], ...]}``, with paths
relative to itself, or ``{"labels": null}`` for a set without classes. A ``classes.txt`` in the same place,
one name a line, gives the numbers names.

``simflow sample`` writes a ``labels.csv`` beside its images, with the columns ``file,seed,label,class``. It is read
likewise, and images that it does not name are none of the set: a sheet of all, or what an earlier call has left.
"""

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from simflow.data.source import Files, distinct, name_classes, names_in
from simflow.shapes import NULL

FILE = "dataset.json"
LIST = "labels.csv"
COLUMNS = ("file", "seed", "label", "class")
"""Of a ``labels.csv`` by ``simflow sample``; one with other columns is no business of ours."""


def find(files: Files) -> str | None:
    """The name of the outermost ``dataset.json``, or None."""
    found = [name for name in files.sizes if name == FILE or name.endswith("/" + FILE)]
    return min(found, key=lambda name: (name.count("/"), name), default=None)


def read(
    files: Files, listing: str, names: Sequence[str], *, where: str
) -> tuple[Sequence[int], tuple[str, ...]]:
    """The class of each image in ``names`` and the names of the classes.

    Raises:
        ValueError: the file is not of this format, or an image has no label in it.
    """
    labels = _labels(files.read(listing), where=f"{listing} of {where}")
    if labels is None:
        return [NULL] * len(names), ()
    folder = listing.removesuffix(FILE)
    keys = [name.removeprefix(folder) for name in names]
    missing = [key for key in keys if key not in labels]
    if missing:
        raise ValueError(
            f"{listing} of {where} has no label for {missing[0]} ({len(missing)} images have none)"
        )
    numbers = np.asarray([labels[key] for key in keys], dtype=np.int64)
    classes_txt = folder + "classes.txt"
    known = classes_txt in files.sizes
    called = names_in(files.read(classes_txt), f"{classes_txt} of {where}") if known else None
    return numbers.tolist(), name_classes(numbers, called, where=where)


def find_list(files: Files, names: Sequence[str]) -> str | None:
    """The name of a ``labels.csv`` by ``simflow sample`` beside or above all images in ``names``, or None."""
    found = [name for name in files.sizes if name == LIST or name.endswith("/" + LIST)]
    above = (name for name in found if all(image.startswith(name.removesuffix(LIST)) for image in names))
    return next((name for name in sorted(above, key=len) if is_list(files.read(name))), None)


def is_list(content: bytes) -> bool:
    """Whether a ``labels.csv`` has the columns of ``simflow sample``."""
    return content.partition(b"\n")[0].rstrip(b"\r") == ",".join(COLUMNS).encode()


def read_list(
    files: Files, listing: str, *, where: str
) -> tuple[Sequence[str], Sequence[int], tuple[str, ...]]:
    """The images that a ``labels.csv`` names, the class of each, and the names of the classes that occur.

    Raises:
        ValueError: a line is not as ``simflow sample`` writes it, or an image is not there.
    """
    folder, place = listing.removesuffix(LIST), f"{listing} of {where}"
    rows: dict[str, tuple[int, str]] = {}
    for line in csv.DictReader(io.StringIO(files.read(listing).decode("utf-8", errors="replace"))):
        try:
            rows[folder + line["file"]] = int(line["label"]), line["class"] or line["label"]
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"a line of {place} is not as simflow sample writes it: sample again, or remove the file"
            ) from error
    missing = sorted(rows.keys() - files.sizes.keys())
    if missing:
        raise ValueError(
            f"{place} names {missing[0]}, which is not there ({len(missing)} images are missing): "
            "sample again, or remove the file"
        )
    if not rows:
        raise ValueError(f"{place} names no image")
    names = sorted(rows)
    called = dict(sorted(rows.values()))
    if NULL in called:
        return names, [NULL] * len(names), ()
    numbers = {label: number for number, label in enumerate(called)}
    return names, [numbers[rows[name][0]] for name in names], distinct(list(called.values()))


def _labels(content: bytes, *, where: str) -> dict[str, int] | None:
    """The labels by path, or None if the set has no classes."""
    complaint = f'{where} must be {{"labels": [[path, class number], ...]}} or {{"labels": null}}.'
    try:
        parsed: Any = json.loads(content)
    except ValueError as error:
        raise ValueError(f"{where} is not JSON: {error}") from error
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
