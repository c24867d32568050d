"""Archives in a folder: what each of them stands for, and all of them as one.

    cat.zip dog.tar                 two classes
    train.zip val.zip               two splits
    cat_train.tar dog_train.tar     two classes of a split
    part-000.tar part-001.tar       parts of one set
    train/cat.tar val/cat.tar       a class, in two splits

Each stands for a folder, whose name :mod:`simflow.data.layout` then reads like any other's.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from simflow.data import manifest, metadata
from simflow.data.layout import is_image
from simflow.data.source import Files
from simflow.data.splits import SPLITS, named_split

TABLES = (*metadata.NAMES, manifest.FILE, manifest.LIST, "classes.txt")
"""Files that say which pictures are meant, or which class they have."""

COUNTED = re.compile(r"(.*?)(\d{3,})(?:-of-\d+)?")
"""The name of a part of a set."""


def together(folder: Files, archives: Mapping[str, Files], *, where: str) -> Files:
    """The files of a folder and of the archives in it, each archive as the folder that it stands for.

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
            name = joined(stands_for[archive], inner.removeprefix(outer))
            files, other = owners.setdefault(name, (own, inner))
            if files is own:
                continue
            if is_image(name) or (is_table(name) and files.read(other) != own.read(inner)):
                raise ValueError(f"two archives in {where} have a file {name}; unpack them into folders")

    def read(name: str) -> bytes:
        files, inner = owners[name]
        return files.read(inner)

    return Files(sizes={name: files.sizes[inner] for name, (files, inner) in owners.items()}, read=read)


def folders(archives: Sequence[str]) -> dict[str, str]:
    """The folder that each archive of a set stands for: that of its split, or of the set, or else of its own name.

    >>> folders(["cat.zip", "dog.tar.gz"]), folders(["n01440764.tar", "n01443537.tar"])
    ({'cat.zip': 'cat', 'dog.tar.gz': 'dog'}, {'n01440764.tar': 'n01440764', 'n01443537.tar': 'n01443537'})
    """
    return by_split(archives) or by_count(archives) or {name: stem_of(name) for name in archives}


def by_split(archives: Sequence[str]) -> dict[str, str] | None:
    """The folder of its split for each archive, if the names of all speak of one; and in it one for each class, if
    several of a split differ by more than numbers.

    >>> by_split(["img_train.tar", "img_val.tar"]), by_split(["train-1.zip", "train-2.zip"])
    ({'img_train.tar': 'train', 'img_val.tar': 'validation'}, {'train-1.zip': 'train', 'train-2.zip': 'train'})
    >>> by_split(["cat-train.tar", "dog-train.tar"])
    {'cat-train.tar': 'train/cat', 'dog-train.tar': 'train/dog'}
    """
    splits, kinds = {}, {}
    for name in archives:
        words = re.findall(r"[^\W\d_]+", file_of(name))
        splits[name] = named_split(file_of(name))
        kinds[name] = " ".join(word for word in words if named_split(word) is None)
    if None in splits.values():
        return None
    several = len(set(zip(splits.values(), kinds.values(), strict=True))) > len(set(splits.values()))
    return {name: joined(above(name), splits[name], kinds[name] if several else "") for name in archives}


def by_count(archives: Sequence[str]) -> dict[str, str] | None:
    """The folder in which it lies for each archive, if all are parts of a set, counted with three digits or more; and
    in it one for each series, if there are several.

    >>> by_count(["a/part-000.tar", "a/part-001.tar"]), by_count(["cat-000.zip", "cat-001.zip", "dog-000.zip"])
    ({'a/part-000.tar': 'a', 'a/part-001.tar': 'a'}, None)
    """
    series: dict[tuple[str, str], list[int]] = defaultdict(list)
    kinds = {}
    for name in archives:
        match = COUNTED.fullmatch(file_of(name))
        if match is None:
            return None
        series[above(name), match[1]].append(int(match[2]))
        kinds[name] = match[1].rstrip("-_. ")
    counted = {text for (_, text), numbers in series.items() if len(numbers) > 1}
    gaps = any(max(numbers) - min(numbers) >= len(numbers) for numbers in series.values())
    if gaps or any(text not in counted for _, text in series):
        return None
    return {name: joined(above(name), kinds[name] if len(counted) > 1 else "") for name in archives}


def above(name: str) -> str:
    """The folder in which a file lies."""
    return name.rpartition("/")[0]


def file_of(name: str) -> str:
    """The name of an archive without folder and ending."""
    return stem_of(name).rpartition("/")[2]


def joined(*parts: str | None) -> str:
    """Parts of a name with ``/`` between them, those that are there.

    >>> joined("", "a", None, "b")
    'a/b'
    """
    return "/".join(part for part in parts if part)


def stem_of(name: str) -> str:
    """The name of an archive without its ending.

    >>> stem_of("a/b.v1.TAR.gz"), stem_of("b.zip")
    ('a/b.v1', 'b')
    """
    return re.sub(r"(\.tar)?\.[^.]+$", "", name, flags=re.IGNORECASE)


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


def is_table(name: str) -> bool:
    """Whether a file says something about pictures."""
    return name.rpartition("/")[2] in TABLES
