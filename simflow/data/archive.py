"""The files of .zip and .tar archives, read without unpacking them to disk.

A file of a zip or a plain tar is read where it lies. A compressed tar (.tar.gz, .tar.xz, .tar.bz2) can only be read
from front to back, so its images are held in memory, still encoded: convert a very large one to a plain tar first.
"""

import lzma
import re
import tarfile
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path

from simflow.data import tar
from simflow.data.layout import is_foreign, is_image
from simflow.data.source import Files
from simflow.data.splits import named_split

ZIP = (".zip",)
PACKED_TAR = (".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")

ENDINGS = ZIP + tar.TAR + PACKED_TAR

SHARD = re.compile(r"(.*?)(\d{3,})(?:-of-\d+)?")

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


def together(folder: Files, archives: Mapping[str, Files], *, where: str) -> Files:
    """The files of a folder and of the archives in it, each archive as a folder (see :func:`folders`).

    Raises:
        ValueError: two archives that stand for one folder have a picture of the same name.
    """
    owners = {name: (folder, name) for name in folder.sizes}
    for archive, stands_for in folders(archives).items():
        for inner in archives[archive].sizes:
            name = f"{stands_for}/{inner}".removeprefix("/")
            if owners.setdefault(name, (archives[archive], inner))[0] is not archives[archive] and is_image(
                name
            ):
                raise ValueError(f"two archives in {where} have a picture {name}; unpack them into folders")

    def read(name: str) -> bytes:
        files, inner = owners[name]
        return files.read(inner)

    return Files(sizes={name: files.sizes[inner] for name, (files, inner) in owners.items()}, read=read)


def folders(archives: Collection[str]) -> dict[str, str]:
    """The folder that each archive of a set stands for: that of its name; or that of its split, if all names speak of
    one; or none of its own, if they are parts of one set, counted with three digits or more.

    >>> folders(["cat.zip", "dog.tar.gz"]).values(), folders(["img_train.tar", "img_val.tar"]).values()
    (dict_values(['cat', 'dog']), dict_values(['train', 'validation']))
    >>> folders(["a/part-000.tar", "a/part-001.tar"]).values(), folders(["n01440764.tar", "n01443537.tar"]).values()
    (dict_values(['a', 'a']), dict_values(['n01440764', 'n01443537']))
    """
    stems = {name: re.sub(r"(\.tar)?\.[^.]+$", "", name, flags=re.IGNORECASE) for name in archives}
    splits = {name: named_split(stem) for name, stem in stems.items()}
    found = {name: SHARD.fullmatch(stem) for name, stem in stems.items()}
    numbers: dict[str, list[int]] = defaultdict(list)
    for match in found.values():
        if match is not None:
            numbers[match[1]].append(int(match[2]))
    counted = all(max(own) - min(own) == len(own) - 1 > 0 for own in numbers.values())
    if all(splits.values()):
        return {name: str(split) for name, split in splits.items()}
    if counted and all(found.values()):
        return {name: name.rpartition("/")[0] for name in archives}
    return stems


def _zip(path: Path) -> Files:
    archive = zipfile.ZipFile(path)  # written on Windows, it may have names with \
    named = ((entry.filename.replace("\\", "/"), entry) for entry in archive.infolist())
    entries = {name: entry for name, entry in named if not name.endswith("/")}
    if any(entry.flag_bits & 1 for entry in entries.values()):
        raise ValueError(f"{path} is encrypted; unpack it first")
    sizes = {name: entry.file_size for name, entry in entries.items()}
    return Files(sizes=sizes, read=lambda name: archive.read(entries[name]))


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
            file = archive.extractfile(member) if wanted else None
            if file is not None:
                contents[name] = file.read()
            elif is_foreign(name):
                foreign[name] = member.size
    sizes = foreign | {name: len(content) for name, content in contents.items()}
    return Files(sizes=sizes, read=contents.__getitem__)
