"""The idx format of MNIST and its relatives: pixels behind a header of big-endian integers.

A header is two zero bytes, a type code (8 is uint8), the number of axes, and each axis as a 32-bit integer;
images have three axes ``(n, height, width)`` and labels one. Files may be compressed (.gz, .xz). A folder
usually holds both splits::

    train-images-idx3-ubyte.gz  train-labels-idx1-ubyte.gz  t10k-images-idx3-ubyte.gz
    t10k-labels-idx1-ubyte.gz
"""

import gzip
import lzma
import math
import re
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simflow.data.arrays import source_of
from simflow.data.source import Source, names_beside
from simflow.data.splits import choose_splits, meant, named_split

COMPRESSIONS = ("", ".gz", ".xz")
IMAGES = re.compile(r"(?P<split>.*)images[-.]idx3[-.]ubyte(\.gz|\.xz)?")
UINT8 = 8


def is_idx(path: Path) -> bool:
    """Whether ``path`` is named like an idx file of images."""
    return IMAGES.fullmatch(path.name) is not None


def image_files(folder: Path) -> list[Path]:
    """The idx files of images in ``folder``."""
    return sorted(path for path in folder.iterdir() if is_idx(path))


def read_folder(folder: Path, *, split: str | None) -> Source:
    """The images of one split of ``folder``, or of all its splits in alphabetical order.

    Raises:
        ValueError: there is no such split or several files of one, or a file is damaged.
    """
    by_split: dict[str, Path] = {}
    for path in image_files(folder):
        name = _split(path)
        if name in by_split:
            raise ValueError(
                f"{folder} has both {by_split[name].name} and {path.name}; give one of them as the path"
            )
        by_split[name] = path
    chosen = sorted(choose_splits(by_split, split, where=str(folder)))
    parts = [_pair(by_split[name]) for name in chosen]
    if len({images.shape[1:] for images, _ in parts}) > 1:
        raise ValueError(f"the splits of {folder} have images of different sizes; choose one split")
    labels = [labels for _, labels in parts if labels is not None]
    place = by_split[chosen[0]] if len(chosen) == 1 else folder
    source = source_of(
        np.concatenate([images for images, _ in parts]),
        np.concatenate(labels) if len(labels) == len(parts) else None,
        names_beside(folder),
        name=place.name,
        where=str(place),
    )
    return replace(source, splits=frozenset(by_split))


def read_file(path: Path, *, split: str | None) -> Source:
    """The images of one file and the labels beside it, if there are any.

    Raises:
        ValueError: ``split`` names another split than the file's, or a file is damaged.
    """
    if split is not None and meant(split) not in ("train", _split(path)):
        raise ValueError(f"there is no split {split!r} in {path}, which is a single file")
    images, labels = _pair(path)
    return source_of(images, labels, names_beside(path.parent), name=path.name, where=str(path))


def _split(path: Path) -> str:
    """The split a file's name speaks of; a name that mentions none is ``train``."""
    return named_split(path.name) or "train"


def _pair(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Images ``(n, h, w)``, and labels ``(n,)`` if their file stands beside."""
    images = _array(path, axes=3)
    bare = re.sub(r"(\.gz|\.xz)$", "", path.name).replace("images", "labels").replace("idx3", "idx1")
    beside = [path.with_name(bare + ending) for ending in COMPRESSIONS]
    found = next((file for file in beside if file.is_file()), None)
    return images, None if found is None else _array(found, axes=1)


def _array(path: Path, *, axes: int) -> NDArray[np.uint8]:
    content = _content(path)
    start = 4 + 4 * axes
    if len(content) < start or content[:4] != bytes([0, 0, UINT8, axes]):
        raise ValueError(f"{path} is not an idx file of bytes with {axes} axes")
    shape = tuple(int(length) for length in np.frombuffer(content, dtype=">u4", count=axes, offset=4))
    if len(content) != start + math.prod(shape):
        raise ValueError(
            f"{path} is damaged: it promises {math.prod(shape)} bytes and holds {len(content) - start}"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


def _content(path: Path) -> bytes:
    readers = {".gz": gzip.open, ".xz": lzma.open}
    try:
        with readers.get(path.suffix, open)(path, "rb") as file:
            return file.read()
    except (gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
