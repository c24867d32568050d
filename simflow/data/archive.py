"""The files of a .zip or .tar archive, read without unpacking it to disk.

A zip and a plain tar have an index, so one file is read by seeking to it. A compressed tar (.tar.gz,
.tar.xz, .tar.bz2) can only be read from front to back, so its images are held in memory, still encoded:
convert a very large one to a plain tar first.
"""

import lzma
import tarfile
import zipfile
import zlib
from pathlib import Path

from simflow.data.layout import is_foreign, is_image
from simflow.data.source import Files

ZIP = (".zip",)
TAR = (".tar",)
PACKED_TAR = (".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")

FAULTS = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError)
"""What reading a damaged archive can raise."""


def list_archive(path: Path) -> Files:
    """Lists the archive at ``path``, whose name has one of the endings above.

    Raises:
        ValueError: the file is not such an archive, or ends early.
    """
    name = path.name.lower()
    try:
        if name.endswith(ZIP):
            return _zip(path)
        return _plain_tar(path) if name.endswith(TAR) else _packed_tar(path)
    except FAULTS as error:
        raise ValueError(f"{path} is not a readable archive: {error}") from error


def _zip(path: Path) -> Files:
    archive = zipfile.ZipFile(path)  # written on Windows, it may have names with \
    named = ((entry.filename.replace("\\", "/"), entry) for entry in archive.infolist())
    entries = {name: entry for name, entry in named if not name.endswith("/")}
    if any(entry.flag_bits & 1 for entry in entries.values()):
        raise ValueError(f"{path} is encrypted; unpack it first")
    sizes = {name: entry.file_size for name, entry in entries.items()}
    return Files(sizes=sizes, read=lambda name: archive.read(entries[name]))


def _plain_tar(path: Path) -> Files:
    with tarfile.open(path, "r:") as archive:
        places: dict[str, tuple[int, int]] = {}
        for member in archive:
            if member.issparse():
                raise ValueError(f"{path} has {member.name} as a sparse file; unpack it first")
            if member.isfile():
                places[_clean(member.name)] = (member.offset_data, member.size)
            elif member.islnk() and _clean(member.linkname) in places:  # a hard link: stored once
                places[_clean(member.name)] = places[_clean(member.linkname)]

    def read(name: str) -> bytes:
        start, size = places[name]
        with path.open("rb") as file:
            file.seek(start)
            return file.read(size)

    return Files(sizes={name: size for name, (_, size) in places.items()}, read=read)


def _packed_tar(path: Path) -> Files:
    contents: dict[str, bytes] = {}
    foreign: dict[str, int] = {}
    with tarfile.open(path, "r:*") as archive:
        for member in archive:
            name = _clean(member.name)
            wanted = is_image(name) or name.endswith((".json", ".jsonl", ".txt", ".csv", ".cls"))
            file = archive.extractfile(member) if wanted else None
            if file is not None:
                contents[name] = file.read()
            elif is_foreign(name):
                foreign[name] = member.size
    sizes = foreign | {name: len(content) for name, content in contents.items()}
    return Files(sizes=sizes, read=contents.__getitem__)


def _clean(name: str) -> str:
    """``./a/b.png``, as tar writes names when asked for ``.``, is ``a/b.png``."""
    return name.removeprefix("./")
