"""From a path to a :class:`~simflow.data.source.Source`: which format is it?

The images that come with the package are a folder of idx files like any other, ``embedded/`` beside this
file: 6 000 of Fashion-MNIST's training images as its train split and 1 000 of its test images, never to be
trained on, as its test split.
"""

import logging
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from simflow.data import hub, idx, parquet, webdataset
from simflow.data.archive import is_archive, list_archive
from simflow.data.folder import list_folder
from simflow.data.layout import arrange, is_hidden, is_image
from simflow.data.metadata import refuse_column
from simflow.data.npz import read_npz
from simflow.data.packed import together
from simflow.data.source import Source, complete
from simflow.data.splits import choose_splits
from simflow.distributed import is_main
from simflow.files import at_home

logger = logging.getLogger(__name__)

EMBEDDED = Path(__file__).parent / "embedded"
PREFIX = "embedded:"
FASHION = PREFIX + "fashion-mnist"
HELD_OUT = PREFIX + "fashion-mnist-heldout"
FASHION_LABELS = (0x2ED6E46A, 0x242BC73F, 0xF3F5DD68)
"""CRC-32 of the labels of Fashion-MNIST as bytes: of training images, of test images, and of all, tests first."""


def is_there(path: str) -> bool:
    """Whether there is anything at the path of an image set; embedded ones are, and those on the hub may be."""
    return path.startswith((PREFIX, hub.PREFIX)) or at_home(path).exists()


def find(path: str, *, split: str | None, label: str | None = None) -> Source:
    """Lists the images of ``path``, in any of the formats of :class:`~simflow.data.config.DataConfig`.

    Raises:
        ValueError: as :func:`listed`; or only some of the images have a label.
    """
    return complete(listed(path, split=split, label=label), where=path)


def listed(path: str, *, split: str | None, label: str | None = None) -> Source:
    """:func:`find`, whether or not all images have a label: to learn which splits there are, of which one may be
    without labels.

    Raises:
        ValueError: nothing is there, it is of no known format, it is damaged, or it has no such split or column of
            labels.
    """
    if path.startswith(hub.PREFIX):
        return _folder(hub.fetched(path), split=split, label=label)
    place = at_home(path)
    if not path.startswith(PREFIX):
        if place.is_dir():
            return _folder(place, split=split, label=label)
        if not place.is_file():
            raise ValueError(f"there is nothing at {path}")
        if is_archive(place.name):
            files = list_archive(place)
            if webdataset.is_one(files, label):
                return webdataset.read(
                    {place.name: files}, split=split, label=label, where=path, beside=place.parent
                )
            return arrange(files, split=split, label=label, where=path)
        if place.suffix.lower() == parquet.ENDING:
            return parquet.read([place], split=split, label=label, where=path)
    refuse_column(label, where=path)
    if path.startswith(PREFIX):
        return _embedded(path, split=split)
    if place.suffix.lower() == ".npz":
        choose_splits((), split, where=path)
        return read_npz(place)
    if idx.is_idx(place):
        return _name_fashion(idx.read_file(place, split=split), folder=place.parent)
    raise ValueError(
        f"{path} is no known kind of image set; give a folder, a .zip, .tar, .tar.gz, .tar.xz, .npz or "
        ".parquet file, or an idx file of images"
    )


def _folder(place: Path, *, split: str | None, label: str | None) -> Source:
    if idx.image_files(place):
        refuse_column(label, where=str(place))
        return _name_fashion(idx.read_folder(place, split=split), folder=place)
    files = list_folder(place)
    tables = [name for name in files.sizes if name.lower().endswith(parquet.ENDING)]
    tables = [name for name in tables if not name.lower().endswith("metadata" + parquet.ENDING)]
    loose = sum(is_image(name) for name in files.sizes)
    if not tables:
        packed = sorted(name for name in files.sizes if is_archive(name) and not is_hidden(name))
        if packed and loose and is_main():
            logger.warning("left out of %s: %d archives beside its pictures", place, len(packed))
        archives = {} if loose else {name: list_archive(place / name) for name in packed}
        if any(webdataset.is_one(each, label) for each in archives.values()):
            return webdataset.read(archives, split=split, label=label, where=str(place), beside=place)
        if archives:
            files = together(files, archives, where=str(place))
        return arrange(files, split=split, label=label, where=str(place))
    if loose and is_main():
        logger.warning("left out of %s: %d pictures beside its Parquet files", place, loose)
    return parquet.read([place / name for name in tables], split=split, label=label, where=str(place))


def _embedded(path: str, *, split: str | None) -> Source:
    if path == FASHION:
        return idx.read_folder(EMBEDDED, split=split)
    if path == HELD_OUT:
        choose_splits((), split, where=path)
        return replace(idx.read_folder(EMBEDDED, split="test"), splits=frozenset())
    raise ValueError(f"there is no {path}; the embedded sets are {FASHION} and {HELD_OUT}")


def _name_fashion(source: Source, *, folder: Path) -> Source:
    """Fashion-MNIST comes without class names: it borrows those of the embedded subset, wherever its labels are found
    in their order, or any of its images in a folder called so."""
    if source.class_names != tuple(str(label) for label in range(10)):
        return source
    known = zlib.crc32(source.labels.astype(np.uint8).tobytes()) in FASHION_LABELS
    if not known and "fashion-mnist" not in folder.resolve().name.lower():
        return source
    names = (EMBEDDED / "classes.txt").read_text(encoding="utf-8").split()
    return replace(source, class_names=tuple(names))
