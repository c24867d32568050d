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
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path

from simflow.data import manifest, metadata, tar
from simflow.data.layout import is_foreign, is_image
from simflow.data.source import Files
from simflow.data.splits import SPLITS, named_split

ZIP = (".zip",)
PACKED_TAR = (".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")

ENDINGS = ZIP + tar.TAR + PACKED_TAR

TABLES = (*metadata.NAMES, manifest.FILE, manifest.LIST, "classes.txt")

SHARD = re.compile(r"(.*?)(\d{3,})(?:-of-\d+)?")

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


def together(folder: Files, archives: Mapping[str, Files], *, where: str) -> Files:
    """The files of a folder and of the archives in it, each archive as a folder (see :func:`folders`).

    Raises:
        ValueError: two archives that stand for one folder have another picture or table of the same name.
    """
    pictured = [name for name in sorted(archives) if any(map(is_image, archives[name].sizes))]
    stands_for = {name: stem_of(name) for name in archives} | folders(pictured)
    owners = {name: (folder, name) for name in folder.sizes}
    for archive in sorted(archives):
        own = archives[archive]
        outer = repeated(own.sizes, (stem_of(archive), stands_for[archive]))
        for inner in own.sizes:
            name = f"{stands_for[archive]}/{inner.removeprefix(outer)}".removeprefix("/")
            files, theirs = owners.setdefault(name, (own, inner))
            if (
                files is not own
                and is_named(name)
                and (is_image(name) or files.read(theirs) != own.read(inner))
            ):
                raise ValueError(f"two archives in {where} have a file {name}; unpack them into folders")

    def read(name: str) -> bytes:
        files, inner = owners[name]
        return files.read(inner)

    return Files(sizes={name: files.sizes[inner] for name, (files, inner) in owners.items()}, read=read)


def folders(archives: Sequence[str]) -> dict[str, str]:
    """The folder that each archive of a set stands for: that of its name; or that of its split, if all names speak of
    one; or that of the set, if they are parts of it, counted with three digits or more.

    >>> folders(["cat.zip", "dog.tar.gz"]), folders(["img_train.tar", "img_val.tar"])
    ({'cat.zip': 'cat', 'dog.tar.gz': 'dog'}, {'img_train.tar': 'train', 'img_val.tar': 'validation'})
    >>> folders(["cat-train.tar", "dog-train.tar"])
    {'cat-train.tar': 'train/cat', 'dog-train.tar': 'train/dog'}
    >>> folders(["a/part-000.tar", "a/part-001.tar"]), folders(["n01440764.tar", "n01443537.tar"])
    ({'a/part-000.tar': 'a', 'a/part-001.tar': 'a'}, {'n01440764.tar': 'n01440764', 'n01443537.tar': 'n01443537'})
    """
    stems = {name: stem_of(name) for name in archives}
    files = {name: stem.rpartition("/")[2] for name, stem in stems.items()}
    above = {name: name.rpartition("/")[0] for name in archives}
    splits = {name: named_split(file) for name, file in files.items()}
    if all(splits.values()):
        kinds = {name: " ".join(rest(file)) for name, file in files.items()}
        several = len({(splits[name], kind) for name, kind in kinds.items()}) > len(set(splits.values()))
        return {
            name: "/".join(filter(None, (above[name], split, kinds[name] if several else "")))
            for name, split in splits.items()
        }
    counted = {name: SHARD.fullmatch(file) for name, file in files.items()}
    series: dict[tuple[str, str], list[int]] = defaultdict(list)
    for name, match in counted.items():
        if match is not None:
            series[above[name], match[1]].append(int(match[2]))
    long = {text for (_, text), numbers in series.items() if len(numbers) > 1}
    whole = all(max(numbers) - min(numbers) == len(numbers) - 1 for numbers in series.values())
    if all(counted.values()) and whole and all(text in long for _, text in series):
        several = len(long) > 1
        kinds = {
            name: match[1].rstrip("-_. ") if match and several else "" for name, match in counted.items()
        }
        return {name: "/".join(filter(None, (above[name], kinds[name]))) for name in archives}
    return stems


def stem_of(name: str) -> str:
    """The name of an archive without its ending.

    >>> stem_of("a/b.v1.TAR.gz"), stem_of("b.zip")
    ('a/b.v1', 'b')
    """
    return re.sub(r"(\.tar)?\.[^.]+$", "", name, flags=re.IGNORECASE)


def rest(file: str) -> list[str]:
    """The words of a name that neither count nor speak of a split.

    >>> rest("cat_train-0001"), rest("val")
    (['cat'], [])
    """
    return [word for word in re.findall(r"[^\W\d_]+", file) if named_split(word) is None]


def repeated(names: Iterable[str], known: Collection[str]) -> str:
    """The folder at the top of all pictures of an archive with its ``/``, if it only repeats what the archive is known
    as; else nothing.

    >>> repeated(["cat/1.png", "cat/sub/2.png"], ["cat"]), repeated(["cat/1.png", "dog/2.png"], ["cat"])
    ('cat/', '')
    """
    tops = {name.partition("/")[0] if "/" in name else "" for name in names if is_image(name)}
    top = tops.pop() if len(tops) == 1 else ""
    same = {SPLITS.get(word, word) for word in (each.rpartition("/")[2].lower() for each in known)}
    return f"{top}/" if top and SPLITS.get(top.lower(), top.lower()) in same else ""


def is_named(name: str) -> bool:
    """Whether a file is a picture, or a table that says something about pictures."""
    return is_image(name) or name.rpartition("/")[2] in TABLES


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
            file = archive.extractfile(member) if wanted else None
            if file is not None:
                contents[name] = file.read()
            elif is_foreign(name):
                foreign[name] = member.size
    sizes = foreign | {name: len(content) for name, content in contents.items()}
    return Files(sizes=sizes, read=contents.__getitem__)
