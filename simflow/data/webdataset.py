"""WebDataset: pictures in tar files, the class of each beside it under the same name.

::

    imagenet1k-train-0000.tar
      n01440764_10026.jpg       a picture
      n01440764_10026.cls       its class, a number or a name
      n01440764_10026.json      or an object with a "label", or with what data.label says

What is of one picture has one name up to its first dot. Numbers may have names in a ``classes.txt`` beside the files.
The first word of a tar file's name that is a split's is its split, or else its folder's. Nothing is unpacked: pictures
are read where they lie.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from simflow.data.layout import is_image
from simflow.data.metadata import LABEL, NO_CLASS, class_of, decoded, parsed, refuse_column
from simflow.data.source import Files, Source, names_beside, numbered
from simflow.data.splits import choose_splits, split_by_name

CLASS, RECORD = ".cls", ".json"


def is_one(files: Files, label: str | None) -> bool:
    """Whether the files of an archive are of this kind: a picture has its class beside it.

    Records that speak of other things, such as annotations in class folders, do not make them so.
    """
    endings = (RECORD, CLASS)  # where a picture has both, its class is told by the latter
    beside = {sample_of(name): name for end in endings for name in files.sizes if name.endswith(end)}
    if not beside:
        return False
    first = next((beside[sample_of(name)] for name in pictures(files) if sample_of(name) in beside), None)
    return first is not None and (
        first.endswith(CLASS) or (label or LABEL) in record(files, first, where=first)
    )


def read(
    tars: Mapping[str, Files], *, split: str | None, label: str | None, where: str, beside: Path
) -> Source:
    """The images of one split of some tar files, or of all splits in alphabetical order.

    Classes are those of all splits; their names, if they are numbers, may stand in a ``classes.txt`` in the folder
    ``beside``. A split without any label has no classes.

    Raises:
        ValueError: there is no such split, or a record is damaged.
    """
    splits, divided = split_by_name(tars)
    wanted = choose_splits(divided, split, where=where)
    images = {tar: pictures(tars[tar]) for tar in splits}
    said = {tar: labels_of(tars[tar], images[tar], label, where=tar) for tar in splits}
    shown = [tar for tar, own in splits.items() if not divided or own in wanted]
    places = [(tar, name) for tar in shown for name in images[tar]]
    if not places:
        raise ValueError(f"there is no image in {where}")
    every = [found for each in said.values() for found in each]
    if every.count(None) == len(every):
        refuse_column(label, where=where)
    asked = [found for tar in shown for found in said[tar]]
    labels, class_names = numbered(asked, every, lambda: names_beside(beside), where=where)
    unique = len({name for _, name in places}) == len(places)
    return Source(
        names=[f"{tar}/{name}" for tar, name in places],
        keys=[name if unique else f"{tar}/{name}" for tar, name in places],
        labels=labels,
        class_names=class_names,
        marks=[tars[tar].sizes[name] for tar, name in places],
        read=lambda index: tars[places[index][0]].read(places[index][1]),
        splits=divided,
    )


def labels_of(
    files: Files, images: Sequence[str], label: str | None, *, where: str
) -> list[int | str | None]:
    """The class of each image as it is written down; None where there is none.

    Raises:
        ValueError: a record is no JSON, or its label is neither a name nor a number.
    """
    beside = {
        sample_of(name) + ending: name
        for name in files.sizes
        for ending in (CLASS, RECORD)
        if name.endswith(ending)
    }
    found: list[int | str | None] = []
    for name in images:
        text, about = (beside.get(sample_of(name) + ending) for ending in (CLASS, RECORD))
        value = None
        if text is not None and label is None:
            value = decoded(files.read(text)).strip()
        elif about is not None:
            value = record(files, about, where=where).get(label or LABEL)
        found.append(None if value in NO_CLASS else class_of(value, f"the label of {name} in {where}"))
    return found


def pictures(files: Files) -> list[str]:
    """The picture of each sample: the one without a second ending, such as a mask has, if there is one."""
    images = sorted(name for name in files.sizes if is_image(name))
    plain = {sample_of(name) for name in images if is_plain(name)}
    return [name for name in images if is_plain(name) or sample_of(name) not in plain]


def is_plain(name: str) -> bool:
    """Whether a file has one ending.

    >>> is_plain("a.b/1.png"), is_plain("1.seg.png")
    (True, False)
    """
    return name.rpartition("/")[2].count(".") == 1


def record(files: Files, name: str, *, where: str) -> Mapping[str, Any]:
    """What is said of a picture; nothing if that is no object.

    Raises:
        ValueError: it is not JSON.
    """
    content = parsed(decoded(files.read(name)), f"{name} in {where}")
    return content if isinstance(content, dict) else {}


def sample_of(name: str) -> str:
    """What the files of one picture have in common.

    >>> sample_of("a.b/n01_2.seg.png"), sample_of("n01_2.cls")
    ('a.b/n01_2', 'n01_2')
    """
    folder, slash, file = name.rpartition("/")
    return folder + slash + file.partition(".")[0]
