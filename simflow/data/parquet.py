"""Images in Parquet files, as data sets on the Hugging Face hub have them: encoded pictures in a column, labels beside.

Which column holds the images, and what the classes are called, stands in the file where ``datasets`` wrote it; else the
images are a column of bytes (or of ``bytes`` and ``path``) and the classes one called ``label``. The first word of a
file's name that is a split's is its split: ``train-00000-of-00004.parquet``. Needs pyarrow.

A picture in a Parquet file cannot be had without those around it. So the pictures are held in memory, still encoded, or
if they are many copied once, still encoded, into files of the user's cache folder that are read where they lie.
"""

import importlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from simflow.data.metadata import NoColumn
from simflow.data.source import Source, names_beside, numbered
from simflow.data.splits import choose_splits, split_by_name
from simflow.distributed import is_main
from simflow.files import made_of, replacing
from simflow.reasons import reason
from simflow.shapes import NULL

logger = logging.getLogger(__name__)

ENDING = ".parquet"
IMAGES, LABELS = ("image", "img"), ("label", "labels")
"""What the columns are called mostly; of several that may be meant, these are."""

HELD = 2**30
"""Most bytes of pictures that are held in memory."""
ROWS = 256
"""Pictures copied at once."""


class Columns(NamedTuple):
    """Where in a file images and classes are."""

    image: str
    label: str | None
    names: tuple[str, ...] | None
    """Of the classes, where the file says them."""


def read(files: Sequence[Path], *, split: str | None, label: str | None = None, where: str) -> Source:
    """The images of one split of some files, or of all splits in alphabetical order; their classes in the column
    ``label``, or in the one that seems to be meant.

    Classes are those of all splits. A split without any label has no classes.

    Raises:
        ValueError: pyarrow is not installed, a file is damaged or has no images, there is no such split, or the
            files lie in several folders or have other columns or classes than each other.
    """
    files = sorted(files)
    folders = sorted({str(file.parent) for file in files})
    if len(folders) > 1:
        raise ValueError(
            f"the Parquet files of {where} lie in several folders, which may be several sets: give one, such as "
            f"{folders[0]}"
        )
    place = {file.name: file for file in files}
    splits, divided = split_by_name(place)
    wanted = choose_splits(divided, split, where=where)
    shown = [place[name] for name, own in splits.items() if not divided or own in wanted]
    columns = {file: columns_of(file, label) for file in files}
    if (
        len({own.image for own in columns.values()}) > 1
        or len({own.names for own in columns.values() if own.label}) > 1
    ):
        raise ValueError(f"the Parquet files of {where} have other columns or classes than each other")
    image = columns[shown[0]].image
    labels, class_names = classes(columns, shown, beside=Path(folders[0]), where=where)
    if not len(labels):
        raise ValueError(f"there is no image in {where}")
    groups = {file: list(groups_of(file, image)) for file in shown}
    marks = {file: [size for rows, size in own for _ in range(rows)] for file, own in groups.items()}
    pictures = Pictures(shown, image, size=sum(size for own in groups.values() for _, size in own))
    return Source(
        names=[f"{file.name}[{row}]" for file in shown for row in range(len(marks[file]))],
        keys=[str(row) for row in range(len(labels))],
        labels=labels,
        class_names=class_names,
        marks=[mark for file in shown for mark in marks[file]],
        read=pictures.__getitem__,
        prepare=pictures.prepare,
        splits=divided,
    )


class Pictures:
    """Encoded pictures of some files, one after the other, of so many bytes in all; by any thread, once prepared."""

    def __init__(self, files: Sequence[Path], image: str, *, size: int) -> None:
        self.files, self.image, self.size = files, image, size
        self.pieces: list[Any] = []
        self.ends = np.zeros(0, dtype=np.int64)

    def prepare(self) -> None:
        """Reads the pictures into memory, or copies them.

        Raises:
            ValueError: a file is damaged, or there is no room for the copy.
        """
        if self.pieces:
            return
        for file in self.files:
            self.pieces += pieces(file, self.image) if self.size <= HELD else mapped(file, self.image)
        self.ends = np.cumsum([len(piece) for piece in self.pieces])

    def __getitem__(self, index: int) -> bytes:
        number = int(np.searchsorted(self.ends, index, side="right"))
        from_its_end = index - int(self.ends[number])
        return self.pieces[number][from_its_end].as_py() or b""


def groups_of(file: Path, image: str) -> Iterator[tuple[int, int]]:
    """Rows of each row group, and bytes of its pictures as they are stored, which are known without reading them."""
    about = _opened(file).metadata
    for number in range(about.num_row_groups):
        group = about.row_group(number)
        parts = (group.column(place) for place in range(group.num_columns))
        own = (part for part in parts if part.path_in_schema.split(".")[0] == image)
        yield group.num_rows, sum(part.total_compressed_size for part in own)


def columns_of(file: Path, wanted: str | None = None) -> Columns:
    """The columns of a file, of the classes the one that is ``wanted``.

    Raises:
        NoColumn: it has no such column of classes.
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
    if wanted is not None and (
        wanted not in schema.names or not names_classes(types, schema.field(wanted).type)
    ):
        raise NoColumn(
            f"there is no column '{wanted}' with names or numbers of classes in {file}; its columns are "
            f"{', '.join(schema.names)}"
        )
    label = wanted or _likely([name for name, kind in kinds.items() if kind == "ClassLabel"], LABELS)
    plain = next((name for name in LABELS if name in schema.names), None)
    if label is None and plain is not None:
        if names_classes(types, schema.field(plain).type):
            label = plain
        elif is_main():
            kind = schema.field(plain).type
            logger.warning("the column '%s' of %s is of %s, which is no class of an image", plain, file, kind)
    names = None if label is None else features.get(label, {}).get("names")
    return Columns(str(_likely(images, IMAGES)), label, None if names is None else tuple(names))


def holds_bytes(types: Any, kind: Any) -> bool:
    """Whether a column is of bytes, or of ``bytes`` among others."""
    if types.is_struct(kind):
        return any(inner.name == "bytes" and holds_bytes(types, inner.type) for inner in kind)
    return types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)


def names_classes(types: Any, kind: Any) -> bool:
    """Whether a column is of whole numbers, truths or words."""
    if types.is_dictionary(kind):
        return names_classes(types, kind.value_type)
    words = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
    return words or types.is_integer(kind) or types.is_boolean(kind)


def pieces(file: Path, name: str) -> Iterator[Any]:
    """A column of images as bytes, some rows at a time.

    Raises:
        ValueError: the file is damaged.
    """
    arrow, compute, types = _arrow(), _arrow("compute"), _arrow("types")
    try:
        for batch in _opened(file).iter_batches(ROWS, columns=[name]):
            found = batch.column(0)
            found = compute.struct_field(found, "bytes") if types.is_struct(found.type) else found
            yield found.cast(arrow.large_binary())
    except (arrow.ArrowException, OSError) as error:
        raise ValueError(f"{file} is damaged: {reason(error)}") from error


def mapped(file: Path, name: str) -> list[Any]:
    """The same from a copy in the cache folder, made now if it is not there; processes on one machine share it.

    Raises:
        ValueError: the file is damaged, or the copy cannot be written.
    """
    arrow, copy = _arrow(), made_of(file, "pictures", name, ending=".arrow")
    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(copy.with_suffix(".lock")):
            if not copy.exists():
                logger.info("copying the pictures of %s, still encoded, into %s", file, copy)
                schema = arrow.schema([("picture", arrow.large_binary())])
                with (
                    replacing(copy) as part,
                    arrow.OSFile(str(part), "wb") as sink,
                    _arrow("ipc").new_file(sink, schema) as out,
                ):
                    for piece in pieces(file, name):
                        out.write_batch(arrow.record_batch([piece], schema=schema))
        return _arrow("ipc").open_file(arrow.memory_map(str(copy))).read_all().column(0).chunks
    except (arrow.ArrowException, OSError) as error:
        raise ValueError(f"the pictures of {file} cannot be copied to {copy}: {reason(error)}") from error


def values(file: Path, name: str) -> Any:
    """A column of a file as it is.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        return _opened(file).read(columns=[name]).column(name)
    except (_arrow().ArrowException, OSError) as error:
        raise ValueError(f"{file} is damaged: {error}") from error


def classes(
    columns: Mapping[Path, Columns], shown: Sequence[Path], *, beside: Path, where: str
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """The class of each image of the files that are shown, and the names of the classes of all files.

    Raises:
        ValueError: a number has no name.
    """
    own: dict[Path, list[int | str | None]] = {}
    for file, each in columns.items():
        rows = _opened(file).metadata.num_rows
        found = [None] * rows if each.label is None else values(file, each.label).to_pylist()
        own[file] = [None if label == NULL else label for label in found]
    asked = [label for file in shown for label in own[file]]
    every = (label for labels in own.values() for label in labels)
    names = next((each.names for each in columns.values() if each.names is not None), None)
    return numbered(asked, every, lambda: names_beside(beside) if names is None else names, where=where)


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
        raise ValueError("Parquet files need a package: pip install pyarrow") from error
