"""Labels from ``metadata.csv`` and ``metadata.jsonl`` files, as the imagefolder of Hugging Face's datasets has them.

Such a file stands above the images that it speaks of, one for a whole set or one in the folder of each split. A row
names an image in ``file_name``, relative to the file, and its class in ``label``: a name, or a number whose name may
stand in a ``classes.txt`` beside. A file without labels, of captions for example, says nothing here.
"""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from simflow.data.source import Files, name_classes

ENDINGS = ("csv", "jsonl")
FILE, LABEL = "file_name", "label"


def read(files: Files, names: Sequence[str], *, where: str) -> tuple[Sequence[int], tuple[str, ...]] | None:
    """The class of each image in ``names`` and the names of the classes; None if no file speaks of classes.

    Raises:
        ValueError: a file is damaged, an image has no label in any, or a label is neither a name nor a number.
    """
    labels: dict[str, Any] = {}
    listings = sorted(name for name in files.sizes if is_metadata(name))
    for listing in listings:
        folder = listing.rpartition("metadata.")[0]
        for row in rows(files.read(listing), listing, where=where):
            if isinstance(row.get(FILE), str) and LABEL in row:
                labels[folder + row[FILE].replace("\\", "/").removeprefix("./")] = row[LABEL]
    if not labels:
        return None
    missing = [name for name in names if labels.get(name) in (None, "")]
    if missing:
        raise ValueError(
            f"{', '.join(listings)} of {where} gives no label for {missing[0]} ({len(missing)} images have none)"
        )
    found = [labels[name] for name in names]
    for name, label in zip(names, found, strict=True):
        if isinstance(label, bool) or not isinstance(label, (int, str)):
            raise ValueError(f"the label of {name} in {where} must be a name or a number, not {label!r}")
    words = [str(label).strip() for label in found]
    if all(word.isdecimal() for word in words):
        classes_txt = listings[0].rpartition("metadata.")[0] + "classes.txt"
        text = files.read(classes_txt).decode() if classes_txt in files.sizes else None
        numbers = np.asarray([int(word) for word in words], dtype=np.int64)
        return numbers.tolist(), name_classes(numbers, text, where=where)
    class_names = tuple(sorted(set(words)))
    place = {name: number for number, name in enumerate(class_names)}
    return [place[word] for word in words], class_names


def is_metadata(name: str) -> bool:
    """Whether a file has such a name.

    >>> is_metadata("a/metadata.jsonl"), is_metadata("metadata.csv"), is_metadata("a/my_metadata.csv")
    (True, True, False)
    """
    return name.rpartition("/")[2] in [f"metadata.{ending}" for ending in ENDINGS]


def rows(content: bytes, listing: str, *, where: str) -> Iterator[dict[str, Any]]:
    """The rows of a file.

    Raises:
        ValueError: a line is not JSON.
    """
    text = content.decode("utf-8-sig", errors="replace")
    if listing.endswith("csv"):
        yield from csv.DictReader(io.StringIO(text))
        return
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            row = json.loads(line) if line.strip() else {}
        except ValueError as error:
            raise ValueError(f"line {number} of {listing} of {where} is not JSON: {error}") from error
        if isinstance(row, dict):
            yield row
