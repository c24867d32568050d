"""Reading file names as splits and classes; a function of names alone, the same for folders and archives.

A name such as ``set/train/dog/rex/01.png`` is read from the left:

1. folders that *all* images share are no information and are dropped (``set``), unless they name a split;
2. if all images then lie in folders named train, validation or test, that level is the split (``train``); if such
   folders lie in each of the folders there instead (``dog/train``), they are the split;
3. shared folders below it are dropped as well;
4. the next folder is the class (``dog``); what lies deeper only organises.

Where only some folders at a level are named so, two of different splits (``train``, ``test``) tell that the set is
divided: what lies beside them (``docs``, a loose picture) is left out with a warning. One alone may be a class that is
called so (``train`` beside ``bus`` and ``car``), and is taken for one unless it holds class folders itself. Then, and
where divided folders have others beside them (``dog/train``, ``dog/test``, ``docs``), the set is refused.

So images in one folder, however deep, have no classes, and class numbers are the same in every split.
Classes are numbered in the order of their names, by value if all of them are numbers. A ``dataset.json``
beside the images (:mod:`simflow.data.manifest`) says the classes outright and replaces these rules; so does the
``labels.csv`` of ``simflow sample``, which moreover says which images are meant. A ``metadata.csv`` or
``metadata.jsonl`` with labels (:mod:`simflow.data.metadata`) replaces the last of them.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from simflow.data import manifest, metadata
from simflow.data.source import Files, Source, ordered
from simflow.data.splits import SPLITS, choose_splits
from simflow.distributed import is_main
from simflow.shapes import NULL

IMAGES = (
    ".png .apng .jpg .jpeg .jpe .jfif .webp .avif .bmp .dib .gif .tif .tiff .ppm .pgm .pbm .pnm .jp2 .j2k .j2c .jpc "
    ".jpf .jpx .tga .ico .icns .pcx .dcx .qoi .dds .psd .sgi .rgb .rgba .ras .xbm .xpm"
)
SUFFIXES = tuple(IMAGES.split())
"""Files with these endings, in either case, are taken for images."""

UNKNOWN = ".heic .heif .hif .jxl .jxr .svg .svgz .eps .pfm .exr .hdr .xcf .raw .dng .cr2 .cr3 .nef .arw .orf"
FOREIGN = tuple(UNKNOWN.split())
"""Files with these endings are images that cannot be read, and are counted; all others are ignored."""

logger = logging.getLogger(__name__)

Folders = tuple[str, ...]


def arrange(files: Files, *, split: str | None, label: str | None = None, where: str) -> Source:
    """Lists the images among ``files`` that belong to ``split``, with their classes, of the column ``label`` if given.

    Raises:
        ValueError: there is no image, no such split or no such column, or it cannot be told whether the set is divided.
    """
    names = sorted(name for name in files.sizes if is_image(name))
    foreign = Counter(_ending(name) for name in files.sizes if is_foreign(name))
    left_out = f"{foreign.total()} of a format that cannot be read ({', '.join(sorted(foreign))})"
    if not names:
        more = f" but {left_out}" if foreign else ""
        raise ValueError(
            f"there is no image in {where}{more}; the endings looked for are {' '.join(SUFFIXES)}"
        )
    if foreign and is_main():
        logger.warning("left out of %s: %s", where, left_out)
    listing = manifest.find(files)
    if listing is not None:
        metadata.refuse_column(label, where=where)
        choose_splits((), split, where=where)
        labels, class_names = manifest.read(files, listing, names, where=where)
        return _source(files, names, labels, class_names)
    listing = manifest.find_list(files, names)
    if listing is not None:
        metadata.refuse_column(label, where=where)
        choose_splits((), split, where=where)
        return _source(files, *manifest.read_list(files, listing, where=where))

    folders = _splits_first(_drop_shared(_folders(names)), where=where)
    parts = [SPLITS.get(path[0].lower()) if path else None for path in folders]
    divisions = {part for part in parts if part is not None}
    if len(divisions) > 1 and None in parts:
        odd = [path for path, part in zip(folders, parts, strict=True) if part is None]
        if is_main():
            logger.warning(
                "left out of %s: %s, beside its splits (%s)",
                where,
                _counted(odd),
                ", ".join(sorted(divisions)),
            )
        inside = [index for index, part in enumerate(parts) if part is not None]
        names, folders = [names[index] for index in inside], [folders[index] for index in inside]
        parts = [parts[index] for index in inside]
    divided = None not in parts
    chosen = choose_splits(divisions if divided else (), split, where=where)
    if divided:
        folders = _drop_shared([path[1:] for path in folders])
    said = metadata.read(files, names, label=label, where=where)
    if said is None and not divided:
        _refuse_odd_split(folders, where=where)
    whole = parts if divided else [None] * len(names)
    classes, class_names = _classes(names, folders, whole, where=where) if said is None else said
    kept = [index for index, part in enumerate(parts) if not divided or part in chosen]
    shown, labels = [names[index] for index in kept], [classes[index] for index in kept]
    source = _source(files, shown, labels, class_names)
    keys = _keys(shown, [folders[index] for index in kept])
    return replace(source, keys=keys, splits=frozenset(divisions if divided else ()))


def is_image(name: str) -> bool:
    """Whether a name has an image's ending and no part is hidden (``.x``) or a Mac archive's shadow.

    >>> is_image("a/b.JPG"), is_image("a/notes.txt"), is_image("a/._b.jpg"), is_image("__MACOSX/b.jpg")
    (True, False, False, False)
    """
    return _ending(name) in SUFFIXES and not is_hidden(name)


def is_foreign(name: str) -> bool:
    """Whether a name, not hidden, has the ending of an image that cannot be read.

    >>> is_foreign("a/b.HEIC"), is_foreign("a/b.png"), is_foreign("a/notes.txt")
    (True, False, False)
    """
    return _ending(name) in FOREIGN and not is_hidden(name)


def _ending(name: str) -> str:
    """``.jpg`` of ``a/b.JPG``."""
    return "." + name.lower().rpartition(".")[2]


def is_hidden(name: str) -> bool:
    """Whether a part of a name is hidden (``.x``), or it is a Mac archive's shadow."""
    return name.startswith((".", "__MACOSX/")) or "/." in name


def _names_split(path: Folders) -> bool:
    return bool(path) and path[0].lower() in SPLITS


def _folders(names: Sequence[str]) -> list[Folders]:
    return [tuple(name.split("/")[:-1]) for name in names]


def _keys(names: Sequence[str], folders: Sequence[Folders]) -> list[str]:
    """The names with these folders in the place of their own."""
    own = (name.rpartition("/")[2] for name in names)
    return ["/".join((*path, name)) for path, name in zip(folders, own, strict=True)]


def _drop_shared(folders: Sequence[Folders]) -> list[Folders]:
    """Drops the leading folders common to all, down to the first that names a split."""
    first, last = min(folders), max(folders)
    shared = 0
    while shared < len(first) and first[shared] == last[shared] and first[shared].lower() not in SPLITS:
        shared += 1
    return [path[shared:] for path in folders]


def _splits_first(folders: Sequence[Folders], *, where: str) -> list[Folders]:
    """The folders with the split before the class, where each class is divided in a folder of its own.

    Raises:
        ValueError: some folders are divided into several splits, and others are not.
    """
    inner = [SPLITS.get(path[1].lower()) if path[1:] and not _names_split(path) else None for path in folders]
    if None not in inner:
        return [(path[1], path[0], *path[2:]) for path in folders]
    divisions = {part for part in inner if part is not None}
    if len(divisions) > 1 and not any(map(_names_split, folders)):
        odd = [path for path, part in zip(folders, inner, strict=True) if part is None]
        one = next(path[0] for path, part in zip(folders, inner, strict=True) if part is not None)
        raise ValueError(
            f"in {where}, folders such as {one} are divided into {', '.join(sorted(divisions))}, and beside them "
            f"lies what is not: {_counted(odd)}; move it away"
        )
    return list(folders)


def _refuse_odd_split(folders: Sequence[Folders], *, where: str) -> None:
    """Refuses a split's folder among others, where it has class folders in it and so seems to be no class.

    Raises:
        ValueError: it does.
    """
    own = [path for path in folders if _names_split(path)]
    odd = [path for path in folders if not _names_split(path)]
    if not own or not all(odd) or not all(path[1:] for path in own) or len({path[1] for path in own}) < 2:
        return
    raise ValueError(
        f"{own[0][0]} in {where} has class folders in it, and beside it lies {_counted(odd)}: move that away or give "
        f"the folder {own[0][0]} alone; or if {own[0][0]} is a class, give it another name"
    )


def _counted(folders: Iterable[Folders]) -> str:
    """Names of the outermost folders and how many images are in each, in words.

    >>> _counted([("docs", "a"), ("docs",), ("extra",), ()])
    '1 loose image, docs (2 images), extra (1 image)'
    """
    counts = sorted(Counter(path[0] if path else "" for path in folders).items())
    told = [(name, f"{count} image{'s' * (count > 1)}") for name, count in counts]
    said = [f"{name} ({many})" if name else many.replace("image", "loose image") for name, many in told]
    return ", ".join(said[:5]) + (f" and {len(said) - 5} more" if len(said) > 5 else "")


def _classes(
    names: Sequence[str], folders: Sequence[Folders], parts: Sequence[str | None], *, where: str
) -> tuple[Sequence[int], tuple[str, ...]]:
    """The class of each image and the names of the classes; a split whose images all lie loose has none.

    Raises:
        ValueError: an image lies beside the class folders of its split.
    """
    deep = {part for part, path in zip(parts, folders, strict=True) if path}
    for name, part, path in zip(names, parts, folders, strict=True):
        if part in deep and not path:
            raise ValueError(f"{name} in {where} has no class, as it lies beside the class folders; move it")
    class_names = ordered({path[0] for path in folders if path})
    numbers = {name: number for number, name in enumerate(class_names)}
    return [numbers[path[0]] if path else NULL for path in folders], class_names


def _source(
    files: Files, names: Sequence[str], labels: Sequence[int], class_names: tuple[str, ...]
) -> Source:
    return Source(
        names=names,
        keys=_keys(names, _drop_shared(_folders(names))),
        labels=np.asarray(labels, dtype=np.int64),
        class_names=class_names,
        marks=[files.sizes[name] for name in names],
        read=lambda index: files.read(names[index]),
    )
