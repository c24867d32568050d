"""Images in Parquet files, as data sets on the Hugging Face hub have them: encoded pictures in a column, labels beside.

Which column holds the images, and what the classes are called, stands in the file where ``datasets`` wrote it; else the
images are a column of bytes (or of ``bytes`` and ``path``) and the classes one called ``label``. The first word of a
file's name that is a split's is its split: ``train-00000-of-00004.parquet``. Pictures stay encoded in memory until they
are needed. Needs pyarrow.
"""

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from simflow.data.source import Source, name_classes
from simflow.data.splits import choose_splits, named_split
from simflow.shapes import NULL

ENDING = ".parquet"
IMAGES, LABELS = ("image", "img"), ("label", "labels")
"""What the columns are called mostly; of several that may be meant, these are."""


class Columns(NamedTuple):
    """Where in a file images and classes are."""

    image: str
    label: str | None
    names: tuple[str, ...] | None
    """Of the classes, where the file says them."""


def read(files: Sequence[Path], *, split: str | None, where: str) -> Source:
    """The images of one split of some files, or of all splits in alphabetical order.

    Raises:
        ValueError: pyarrow is not installed, a file is damaged or has no images, there is no such split, or the files
            lie in several folders or have other columns or classes than each other.
    """
    files = sorted(files)
    folders = sorted({str(file.parent) for file in files})
    if len(folders) > 1:
        raise ValueError(
            f"the Parquet files of {where} lie in several folders, which may be several sets: give one, such as "
            f"{folders[0]}"
        )
    splits = {file: named_split(file.name) or "train" for file in files}
    divided = frozenset(splits.values()) if len(files) > 1 else frozenset()
    wanted = choose_splits(divided, split, where=where)
    shown = [file for file in sorted(files, key=splits.__getitem__) if not divided or splits[file] in wanted]
    first, *others = {columns_of(file) for file in files}
    if others:
        raise ValueError(f"the Parquet files of {where} have other columns or classes than each other")
    pictures = column(shown, first.image)
    labels, class_names = classes(files, first, beside=Path(folders[0]), where=where)
    lengths = _arrow("compute").binary_length(pictures).fill_null(0).to_pylist()
    return Source(
        names=[f"{file.name}[{row}]" for file in shown for row in range(len(labels[file]))],
        labels=np.concatenate([labels[file] for file in shown]),
        class_names=class_names,
        marks=lengths,
        read=lambda index: pictures[index].as_py() or b"",
        splits=divided,
    )


def columns_of(file: Path) -> Columns:
    """The columns of a file.

    Raises:
        ValueError: pyarrow is not installed, it is no Parquet file, or has no column of images.
    """
    schema = _opened(file).schema_arrow
    notes = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    features = notes.get("info", {}).get("features", {})
    kinds = {name: features.get(name, {}).get("_type") for name in schema.names if name in features}
    types = _arrow("types")
    binary = [field.name for field in schema if holds_bytes(types, field.type)]
    images = [name for name in binary if kinds.get(name, "Image") == "Image"]
    if not images:
        raise ValueError(f"there is no column of images in {file}; its columns are {', '.join(schema.names)}")
    label = _likely([name for name, kind in kinds.items() if kind == "ClassLabel"], LABELS)
    plain = schema.field(LABELS[0]).type if LABELS[0] in schema.names else None
    if label is None and plain is not None and (types.is_integer(plain) or types.is_string(plain)):
        label = LABELS[0]
    names = None if label is None else features.get(label, {}).get("names")
    return Columns(str(_likely(images, IMAGES)), label, None if names is None else tuple(names))


def holds_bytes(types: Any, kind: Any) -> bool:
    """Whether a column is of bytes, or of ``bytes`` among others."""
    if types.is_struct(kind):
        return any(inner.name == "bytes" and holds_bytes(types, inner.type) for inner in kind)
    return types.is_binary(kind) or types.is_large_binary(kind)


def column(files: Sequence[Path], name: str) -> Any:
    """A column of some files, one after the other; of one with ``bytes`` in it, these.

    Raises:
        ValueError: a file is damaged.
    """
    arrow, compute = _arrow(), _arrow("compute")
    chunks = []
    for file in files:
        try:
            found = _opened(file).read(columns=[name]).column(name)
        except (arrow.ArrowException, OSError) as error:
            raise ValueError(f"{file} is damaged: {error}") from error
        found = compute.struct_field(found, "bytes") if _arrow("types").is_struct(found.type) else found
        chunks += found.chunks
    return arrow.chunked_array(chunks)


def classes(
    files: Sequence[Path], columns: Columns, *, beside: Path, where: str
) -> tuple[dict[Path, NDArray[np.int64]], tuple[str, ...]]:
    """The class of each image of each file, and the names of the classes; a set whose labels all are -1 has none.

    Raises:
        ValueError: an image has no label, or a number no name.
    """
    if columns.label is None:
        return {file: np.full(_opened(file).metadata.num_rows, NULL) for file in files}, ()
    labels = {file: column([file], columns.label).to_pylist() for file in files}
    found = [label for own in labels.values() for label in own]
    if set(found) <= {None, NULL}:
        return {file: np.full(len(own), NULL) for file, own in labels.items()}, ()
    if None in found or NULL in found:
        missing = sum(label in (None, NULL) for label in found)
        raise ValueError(f"{missing} of {len(found)} images in {where} have no label")
    if isinstance(found[0], str):
        class_names = tuple(sorted(set(found)))
        place = {name: number for number, name in enumerate(class_names)}
        return {file: np.array([place[each] for each in own]) for file, own in labels.items()}, class_names
    listing = beside / "classes.txt"
    text = listing.read_text(encoding="utf-8") if listing.is_file() else None
    text = text if columns.names is None else "\n".join(columns.names)
    numbers = {file: np.asarray(own, dtype=np.int64) for file, own in labels.items()}
    return numbers, name_classes(np.concatenate(list(numbers.values())), text, where=where)


def _likely(names: Sequence[str], known: Sequence[str]) -> str | None:
    """Of some names the first that is known; else the first."""
    return next((name for name in known if name in names), names[0] if names else None)


def _opened(file: Path) -> Any:
    arrow = _arrow()
    try:
        return _arrow("parquet").ParquetFile(file)
    except (arrow.ArrowException, OSError) as error:
        raise ValueError(f"{file} is not a readable Parquet file: {error}") from error


def _arrow(part: str = "") -> Any:
    try:
        return importlib.import_module(f"pyarrow.{part}" if part else "pyarrow")
    except ImportError as error:
        raise ValueError("Parquet files need a package: pip install simflow[parquet]") from error
