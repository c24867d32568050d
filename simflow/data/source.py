"""The listing of an image set: what each image is called, what class it has and how to get its raw content.

Every format ends in one :class:`Source`. Folders and archives first become :class:`Files`, named blobs,
whose names are then read as splits and classes by :mod:`simflow.data.layout`; idx and npz files hold pixels
and become a source at once (:mod:`simflow.data.arrays`). Nothing here decodes a picture: a source returns file bytes or
raw pixels, and :mod:`simflow.data.decode` makes both into images.
"""

import itertools
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simflow.shapes import NULL

SURROGATES = re.compile("[\ud800-\udfff]")
"""What stands in a name for bytes that are not UTF-8, and cannot be written as it."""

Raw = bytes | NDArray[np.uint8]
"""An encoded picture, or its pixels: ``(h, w)`` or ``(h, w, 1)`` gray, ``(h, w, 3)`` RGB."""


@dataclass(frozen=True, kw_only=True)
class Files:
    """Named files of a folder or an archive; names are relative and use ``/``."""

    sizes: Mapping[str, int]
    """Bytes of each file."""

    read: Callable[[str], bytes]
    """The content of one file; safe to call from several threads."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """``n`` images, listed but not yet decoded, in an order that depends on their names alone."""

    names: Sequence[str]
    """What to call each image in a message."""

    keys: Sequence[str]
    """What of each name stays when the set is moved or packed otherwise: class folder and file, or a number."""

    labels: NDArray[np.int64]
    """``(n,)``: the class of each, ``NULL`` where there is none; all or none have one, once it is :func:`complete`."""

    class_names: tuple[str, ...]
    """One name a label; empty if the set has no classes."""

    marks: Sequence[int]
    """A number that changes when the image does: bytes of its file, or a checksum of its pixels."""

    read: Callable[[int], Raw]
    """The raw content of image ``i``; safe to call from several threads."""

    prepare: Callable[[], None] = lambda: None
    """What is to be done, once, before the first image is read.

    Raises:
        ValueError: the set cannot be read.
    """

    splits: frozenset[str] = frozenset()
    """The splits of the whole set, whichever of them are listed; empty if it is not divided."""


def complete(source: Source, *, where: str) -> Source:
    """A source whose images all have a class, or none of them and so it has no classes; with names that can be printed.

    Raises:
        ValueError: some images have a class, and some have not.
    """
    source = replace(
        source,
        names=[printable(name) for name in source.names],
        class_names=distinct([printable(name) for name in source.class_names]),
    )
    missing = np.flatnonzero(source.labels == NULL)
    if not len(missing):
        return source
    if len(missing) < len(source.labels):
        first = source.names[int(missing[0])]
        raise ValueError(f"there is no label for {first} in {where} ({len(missing)} images have none)")
    return replace(source, class_names=())


def printable(name: str) -> str:
    """A name with a sign in the place of each byte that is not UTF-8, as old archives leave them in names of folders.

    >>> printable("caf\\udce9") == "caf\\ufffd", printable("café")
    (True, 'café')
    """
    return SURROGATES.sub("\N{REPLACEMENT CHARACTER}", name)


def places_among(names: Sequence[str], others: Sequence[str]) -> list[int] | None:
    """Where each of these classes stands among others, or None if those are not the same classes.

    They are the same if they have the same names, in any order; and where those of one side have only numbers for
    names, if they are as many.

    >>> places_among(("bag", "coat"), ("coat", "bag")), places_among(("0", "1"), ("coat", "bag"))
    ([1, 0], [0, 1])
    >>> places_among(("bag", "coat"), ("bag", "boot"))
    """
    own, other = distinct(names), distinct(others)
    if own != other and sorted(own) == sorted(other):
        return places_by_name(own, other, absent=NULL)
    numbers = tuple(str(label) for label in range(len(other)))
    unnamed = len(own) == len(other) and numbers in (own, other)
    return list(range(len(own))) if own == other or unnamed else None


def places_by_name(names: Sequence[str], others: Sequence[str], *, absent: int) -> list[int]:
    """Where each of these classes stands among others by its name; ``absent`` where it does not.

    >>> places_by_name(("hat", "bag"), ("bag", "coat"), absent=-1)
    [-1, 0]
    """
    place = {name: number for number, name in enumerate(distinct(others))}
    return [place.get(name, absent) for name in distinct(names)]


def ordered(names: Collection[str]) -> tuple[str, ...]:
    """Names of classes in the order of their labels: that of the names, or by value if all of them are numbers.

    >>> ordered({"10", "9", "0"}), ordered({"10", "9", "a"})
    (('0', '9', '10'), ('10', '9', 'a'))
    """
    numbered = all(name.isdecimal() for name in names)
    return tuple(sorted(names, key=lambda name: (int(name) if numbered else 0, name)))


def distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Class names in their order, the second of the same name numbered, and so on.

    >>> distinct(("crane", "ant", "crane", "crane"))
    ('crane', 'ant', 'crane (2)', 'crane (3)')
    >>> distinct(("crane", "crane", "crane (2)"))
    ('crane', 'crane (3)', 'crane (2)')
    """
    taken, seen, found = set(names), set(), []
    for name in names:
        numbered = (f"{name} ({number})" for number in itertools.count(2))
        free = name if name not in seen else next(other for other in numbered if other not in taken)
        taken.add(free)
        seen.add(name)
        found.append(free)
    return tuple(found)


def differences_of_classes(names: Sequence[str], others: Sequence[str], *, where: tuple[str, str]) -> str:
    """The names that are on one side only, in words.

    >>> differences_of_classes(("ant", "bee"), ("bee", "cat", "dog"), where=("here", "there"))
    'ant only here; cat, dog only there'
    >>> differences_of_classes("abcdefgh", "h", where=("here", "there"))
    'a, b, c, d, e and 2 more only here'
    """
    told = []
    for side, own, other in ((where[0], names, others), (where[1], others, names)):
        known = set(other)
        alone = [name for name in own if name not in known]
        more = f" and {len(alone) - 5} more" if len(alone) > 5 else ""
        if alone:
            told.append(f"{', '.join(alone[:5])}{more} only {side}")
    return "; ".join(told)


def class_numbers(
    labels: Sequence[int | str], names: Sequence[str] | None, *, where: str
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Numbers and names of classes from labels that are numbers, with names as in :func:`name_classes`, or names.

    Raises:
        ValueError: as :func:`name_classes`.
    """
    if all(isinstance(label, int) for label in labels):
        if max(map(abs, map(int, labels))) >= 2**63:
            raise ValueError(f"the labels of {where} are too large for numbers of classes")
        numbers = np.asarray(labels, dtype=np.int64)
        return numbers, name_classes(numbers, names, where=where)
    words = [str(label) for label in labels]
    class_names = ordered(set(words))
    place = {name: number for number, name in enumerate(class_names)}
    return np.array([place[word] for word in words], dtype=np.int64), class_names


def numbered(
    asked: Sequence[int | str | None],
    every: Iterable[int | str | None],
    names: Callable[[], Sequence[str] | None],
    *,
    where: str,
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """The class of each image asked for, ``NULL`` where it has no label, numbered as the labels of every split are, and
    the names of all classes; no classes if no image asked for has a label. ``names`` gives those of numbers, as for
    :func:`class_numbers`.

    Raises:
        ValueError: as :func:`class_numbers`.
    """
    if asked.count(None) == len(asked):
        return np.full(len(asked), NULL), ()
    known = [label for label in every if label is not None]
    numbers, class_names = class_numbers(known, names(), where=where)
    number = dict(zip(known, numbers.tolist(), strict=True))
    return np.array(
        [NULL if label is None else number[label] for label in asked], dtype=np.int64
    ), class_names


def names_in(content: bytes, what: str) -> tuple[str, ...]:
    """The names in a ``classes.txt``, one a line.

    Raises:
        ValueError: it is not text in UTF-8.
    """
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{what} is not text in UTF-8: {error}") from error
    return tuple(line.strip() for line in lines if line.strip())


def names_beside(folder: Path) -> tuple[str, ...] | None:
    """The names in a ``classes.txt`` that stands in a folder, None if there is none.

    Raises:
        ValueError: it is not text in UTF-8.
    """
    listing = folder / "classes.txt"
    return names_in(listing.read_bytes(), str(listing)) if listing.is_file() else None


MOST_CLASSES = 100_000
"""More than any set of images has that is not larger itself."""


def name_classes(labels: NDArray[np.int64], names: Sequence[str] | None, *, where: str) -> tuple[str, ...]:
    """Names for numbered classes: those given, made :func:`distinct`, or else "0", "1", ...

    Raises:
        ValueError: a label is negative, or has no name, or is too large to be the number of a class.
    """
    if labels.min() < 0:
        raise ValueError(f"the labels of {where} must not be negative, but one is {labels.min()}")
    count = int(labels.max()) + 1
    if count > max(MOST_CLASSES, len(labels)):
        raise ValueError(
            f"the labels of {where} go up to {count - 1}, which is no number of a class: classes are counted from 0"
        )
    if names is None:
        return tuple(str(label) for label in range(count))
    if len(names) < count:
        raise ValueError(
            f"the labels of {where} go up to {count - 1}, but there are names for only {len(names)} classes"
        )
    return distinct(names)
