"""Where the files in a plain tar file are, so that each can be read where it lies.

A tar file has no index: its files are found by reading it through, one header after the other. Where they are many
that takes minutes, so it is done once and kept in the user's cache folder. Tar files in a tar file are looked into if
it has no pictures of its own, such as ImageNet's, which has one of them for each class.
"""

import logging
import posixpath
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from simflow.data.layout import is_hidden, is_image
from simflow.distributed import is_main
from simflow.files import made_of, replacing
from simflow.reasons import reason

logger = logging.getLogger(__name__)

TAR = ".tar"

MANY = 1000
"""Files of a tar file whose places are kept."""
LEAST = 1024
"""Bytes that a file takes in a tar file, at the least: its header, and a block of it."""
LONG = 10**9
"""Bytes of a tar file of which it is said that it is looked through."""
FORM = 2
"""Of the kept places; another one when the same file would have others."""

ODD = "surrogateescape"
"""How names that are not UTF-8 come through, as in tarfile."""

DAMAGED = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)
"""What reading a damaged list of places can raise."""


class Place(NamedTuple):
    """Where a file begins in a tar file, and how long it is, in bytes."""

    start: int
    size: int


Places = Mapping[str, Place]


def places_in(path: Path) -> Places:
    """Where the files of a tar file are, by their names; those of tar files in it stand in folders of their names.

    Raises:
        ValueError: it has a sparse file.
        OSError: it cannot be read.
        tarfile.TarError: it is damaged.
    """
    size = path.stat().st_size
    if size < MANY * LEAST:
        return _found(path)
    try:
        kept = made_of(path, "places", FORM, ending=".npz")
    except RuntimeError:
        return _found(path)
    places = read(kept)
    if places is None:
        if size > LONG and is_main():
            logger.info("looking through %s, %.1f GB, for its files", path, size / 1e9)
        places = _found(path)
        if len(places) >= MANY:
            write(kept, places)
    return places


def read(kept: Path) -> Places | None:
    """Places that were kept; None if there are none, or what is there is damaged."""
    if not kept.exists():
        return None
    try:
        with kept.open("rb") as file, np.load(file) as arrays:
            names = arrays["names"].tobytes().decode(errors=ODD).split("\0")
            pairs = zip(arrays["starts"].tolist(), arrays["sizes"].tolist(), strict=True)
            return {name: Place(*pair) for name, pair in zip(names, pairs, strict=True)}
    except DAMAGED:
        return None


def write(kept: Path, places: Places) -> None:
    """Keeps places, whole or not at all, whoever else does so; a failure is logged, for they can be found again."""
    names = np.frombuffer("\0".join(places).encode(errors=ODD), dtype=np.uint8)
    starts, sizes = np.array(list(places.values()), dtype=np.int64).T
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with replacing(kept, alone=False) as part, part.open("wb") as file:
            np.savez(file, names=names, starts=starts, sizes=sizes)
    except OSError as error:
        if is_main():
            logger.warning("where files are cannot be kept in %s for the next time: %s", kept, reason(error))


def _found(path: Path) -> Places:
    with path.open("rb") as file:
        places = _walk(file, Place(0, path.stat().st_size), where=str(path))
        if not any(map(is_image, places)):
            inner = [name for name in places if name.lower().endswith(TAR) and not is_hidden(name)]
            for name in inner:
                folder = name[: -len(TAR)]
                below = _walk(file, places[name], where=f"{path}/{name}")
                places |= {f"{folder}/{own}": place for own, place in below.items()}
    return places


def _walk(file: BinaryIO, within: Place, *, where: str) -> dict[str, Place]:
    """The files of the tar file that lies at a place of ``file``, in their order; a link to one is that file again, and
    an image that is a link to nowhere has 0 bytes."""
    places: dict[str, Place] = {}
    links: dict[str, str] = {}
    end = within.start + within.size
    file.seek(within.start)
    if within.start:  # further in, tarfile takes what is no header for the end
        _check_head(file.read(min(tarfile.BLOCKSIZE, within.size)), where)
        file.seek(within.start)
    with tarfile.open(fileobj=file, mode="r:") as archive:
        while (member := archive.next()) is not None and member.offset < end:
            archive.members.clear()  # it would keep every header  # pyright: ignore[reportAttributeAccessIssue]
            if member.issparse():
                raise ValueError(f"{where} has {member.name} as a sparse file; unpack it first")
            if member.isfile() and member.offset_data + member.size > end:
                raise tarfile.ReadError(f"it ends within {member.name}")
            if member.isfile():
                places[cleaned(member.name)] = Place(member.offset_data, member.size)
            elif member.islnk() and cleaned(member.linkname) in places:
                places[cleaned(member.name)] = places[cleaned(member.linkname)]
            elif member.issym():
                folder = posixpath.dirname(cleaned(member.name))
                links[cleaned(member.name)] = posixpath.normpath(posixpath.join(folder, member.linkname))
    for name, target in links.items():
        passed = {name}
        while target in links and target not in passed:
            passed.add(target)
            target = links[target]
        if target in places or is_image(name):
            places[name] = places.get(target, Place(within.start, 0))
    return places


def _check_head(head: bytes, where: str) -> None:
    try:
        if any(head):
            tarfile.TarInfo.frombuf(head, "utf-8", ODD)
    except tarfile.HeaderError as error:
        raise tarfile.ReadError(f"{where} does not begin like a tar file") from error


def cleaned(name: str) -> str:
    """A name without what tar writes before it when asked for ``.``.

    >>> cleaned("./a/b.png")
    'a/b.png'
    """
    return name.removeprefix("./")
