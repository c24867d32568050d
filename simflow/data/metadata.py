"""Labels from ``metadata.csv`` and ``metadata.jsonl`` files, as the imagefolder of Hugging Face's datasets has them.

Such a file stands above the images that it speaks of, one for a whole set or one in the folder of each split. A row
names an image in ``file_name``, relative to the file, and its class in ``label`` or in the column that
``data.label`` says: a name, or a number whose name may stand in a ``classes.txt`` beside; none and -1 are no class. A
file without labels, of captions for example, says nothing here.
"""

import codecs
import csv
import io
import json
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from simflow.data.source import Files, class_numbers, names_in
from simflow.distributed import is_main
from simflow.shapes import NULL

logger = logging.getLogger(__name__)

NAMES = ("metadata.csv", "metadata.jsonl")
FILE, LABEL = "file_name", "label"
NO_CLASS = (None, "", NULL, str(NULL))
SEPARATORS = ",;\t|"


class NoColumn(ValueError):
    """A set has no column of the name that was asked for."""


def refuse_column(label: str | None, *, where: str) -> None:
    """Refuses a column of labels, where there is no table.

    Raises:
        NoColumn: one is asked for.
    """
    if label is not None:
        raise NoColumn(
            f"data.label names a column of Parquet files, metadata.csv or metadata.jsonl, and {where} has no such "
            f"column '{label}'"
        )


def read(
    files: Files, names: Sequence[str], *, label: str | None, where: str
) -> tuple[Sequence[int], tuple[str, ...]] | None:
    """The class of each image in ``names``, ``NULL`` where none is given, and the names of the classes; None if no file
    speaks of classes.

    Args:
        label: the column of the classes; "label" if None.

    Raises:
        NoColumn: no image has a label in the column that is asked for.
        ValueError: a file is damaged, gives an image two classes, or has labels without names of files or for none that
            is there; or a label is neither a name nor a number.
    """
    column = LABEL if label is None else label.strip().lower()
    labels: dict[str, int | str] = {}
    listings = sorted((name for name in files.sizes if is_metadata(name)), key=lambda name: name.count("/"))
    for listing in listings:
        folder = listing.rpartition("metadata.")[0]
        for row in rows(files.read(listing), f"{listing} of {where}"):
            if column in row and not isinstance(row.get(FILE), str):
                raise ValueError(f"{listing} of {where} has a column '{column}' but none called '{FILE}'")
            if row.get(column) in NO_CLASS:
                continue
            name = folder + row[FILE].replace("\\", "/").removeprefix("./")
            found = class_of(row[column], f"the {column} of {name} in {where}")
            if labels.setdefault(name, found) != found:
                raise ValueError(f"{name} has two labels in {where}: {labels[name]} and {found}")
    _check_there(labels, files, listings, where=where)
    known = [name for name in names if name in labels]
    if not known:
        refuse_column(label, where=where)
        return None
    beside = [listing.rpartition("metadata.")[0] + "classes.txt" for listing in listings]
    called = next((names_in(files.read(f), f"{f} of {where}") for f in beside if f in files.sizes), None)
    numbers, class_names = class_numbers([labels[name] for name in known], called, where=where)
    number = dict(zip(known, numbers.tolist(), strict=True))
    return [number.get(name, NULL) for name in names], class_names


def _check_there(labels: Collection[str], files: Files, listings: Sequence[str], *, where: str) -> None:
    """Warns of labels for files that are not there.

    Raises:
        ValueError: none is there.
    """
    absent = [name for name in labels if name not in files.sizes]
    if not absent:
        return
    told = f"{' and '.join(listings)} of {where}"
    if len(absent) == len(labels):
        raise ValueError(
            f"{told} has labels for {len(labels)} files, of which none is there, such as {absent[0]}: {FILE} must be "
            "the path of a picture from the folder of the table, with its ending"
        )
    if is_main():
        logger.warning(
            "%s has labels for %d files that are not there, such as %s", told, len(absent), absent[0]
        )


def class_of(label: Any, what: str) -> int | str:
    """A label as a number or a name; 1.0 and "1.0" are 1, as tables write whole numbers beside missing ones.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(label, str):
        word = label.strip()
        whole = word.removesuffix(".0")
        return int(whole) if whole.isdecimal() and len(whole) < 19 else word
    if isinstance(label, bool) or not isinstance(label, (int, float)) or not float(label).is_integer():
        raise ValueError(f"{what} must be a name or a number, not {label!r}")
    return int(label)


def is_metadata(name: str) -> bool:
    """Whether a file has such a name.

    >>> is_metadata("a/metadata.jsonl"), is_metadata("metadata.csv"), is_metadata("a/my_metadata.csv")
    (True, True, False)
    """
    return name.rpartition("/")[2] in NAMES


def rows(content: bytes, listing: str) -> Iterator[Mapping[str, Any]]:
    """The rows of a file, the names of columns in small letters.

    Raises:
        ValueError: it cannot be read.
    """
    text = decoded(content)
    if not listing.split(" of ")[0].endswith("csv"):
        yield from objects(text, listing)
        return
    header = text.partition("\n")[0]
    separator = max(SEPARATORS, key=header.count)
    csv.field_size_limit(max(csv.field_size_limit(), len(text) + 1))
    try:
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        columns = [column.strip().lower() for column in next(lines, [])]
        for line in lines:
            if line:
                yield dict(zip(columns, line, strict=False))
    except csv.Error as error:
        raise ValueError(f"{listing} cannot be read: {error}") from error


def objects(text: str, listing: str) -> Iterator[Mapping[str, Any]]:
    """The objects of JSON lines, or of one list of them.

    Raises:
        ValueError: a line is not JSON.
    """
    if text.lstrip().startswith("["):
        text = "\n".join(json.dumps(row) for row in parsed(text, listing))
    for number, line in enumerate(text.split("\n"), start=1):
        row = parsed(line, f"line {number} of {listing}") if line.strip() else None
        if isinstance(row, dict):
            yield {name.strip().lower(): value for name, value in row.items()}


def parsed(text: str, where: str) -> Any:
    """A piece of JSON.

    Raises:
        ValueError: it is none.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{where} is not JSON: {error}") from error


def decoded(content: bytes) -> str:
    """Text in UTF-8, or in UTF-16 if it begins as such."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", errors="replace")
    return content.decode("utf-8-sig", errors="replace")
