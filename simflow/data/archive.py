"""The files of .zip and .tar archives, read without unpacking them to disk.

A file of a zip or a plain tar is read where it lies. A compressed tar (.tar.gz, .tar.xz, .tar.bz2) can only be read
from front to back, so its images are held in memory, still encoded: convert a very large one to a plain tar first.
"""

import lzma
import tarfile
import zipfile
import zlib
from functools import lru_cache, partial
from pathlib import Path

from simflow.data import tar
from simflow.data.layout import is_foreign, is_image
from simflow.data.source import Files

ZIP = ".zip"
PACKED_TAR = (".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")

ENDINGS = (ZIP, tar.TAR, *PACKED_TAR)

OPEN = 64
"""Zip files that are open at once."""

FAULTS = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError)
"""What reading a damaged archive can raise."""


def is_archive(name: str) -> bool:
    """Whether a name has an archive's ending.

    >>> is_archive("a/b.TAR.gz"), is_archive("a/zip")
    (True, False)
    """
    return name.lower().endswith(ENDINGS)


def list_archive(path: Path) -> Files:
    """Lists the archive at ``path``, whose name has one of the endings above.

    Raises:
        ValueError: the file is not such an archive, or ends early.
    """
    name = path.name.lower()
    try:
        if name.endswith(ZIP):
            return _zip(path)
        return _plain_tar(path) if name.endswith(tar.TAR) else _packed_tar(path)
    except FAULTS as error:
        raise ValueError(f"{path} is not a readable archive: {error}") from error


def _zip(path: Path) -> Files:
    about = path.stat()
    opened = partial(_opened, path, about.st_size, about.st_mtime_ns)
    named = ((entry.filename.replace("\\", "/"), entry) for entry in opened().infolist())  # \ from Windows
    entries = {tar.cleaned(name): entry for name, entry in named if not name.endswith("/")}
    if any(entry.flag_bits & 1 for entry in entries.values()):
        raise ValueError(f"{path} is encrypted; unpack it first")
    sizes = {name: entry.file_size for name, entry in entries.items()}
    return Files(sizes=sizes, read=lambda name: opened().read(entries[name]))


@lru_cache(maxsize=OPEN)
def _opened(path: Path, size: int, changed: int) -> zipfile.ZipFile:
    """A zip of this size and time of change; it is closed when nobody reads it and others are wanted."""
    return zipfile.ZipFile(path)


def _plain_tar(path: Path) -> Files:
    places = tar.places_in(path)

    def read(name: str) -> bytes:
        start, size = places[name]
        with path.open("rb") as file:
            file.seek(start)
            return file.read(size)

    return Files(sizes={name: place.size for name, place in places.items()}, read=read)


def _packed_tar(path: Path) -> Files:
    contents: dict[str, bytes] = {}
    foreign: dict[str, int] = {}
    with tarfile.open(path, "r:*") as archive:
        for member in archive:
            name = tar.cleaned(member.name)
            wanted = is_image(name) or name.endswith((".json", ".jsonl", ".txt", ".csv", ".cls"))
            content = _content(archive, member) if wanted else None
            if content is not None:
                contents[name] = content
            elif is_foreign(name):
                foreign[name] = member.size
    sizes = foreign | {name: len(content) for name, content in contents.items()}
    return Files(sizes=sizes, read=contents.__getitem__)


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes | None:
    """The content of a file, nothing of a link to what is not in the archive; None of a folder and the like."""
    try:
        file = archive.extractfile(member)
    except KeyError:
        return b""
    return None if file is None else file.read()
