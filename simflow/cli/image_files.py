"""Images and statistics from the paths of a command line, and what to say of them in a result."""

from collections.abc import Set
from typing import Any

import torch
from rich.console import Console

from simflow.cli.talk import load_showing
from simflow.data.config import DataConfig
from simflow.data.find import is_there
from simflow.data.images import ImageSet, tell_skipped
from simflow.data.order import spread
from simflow.evaluate.collect import Pictures
from simflow.evaluate.fidelity import taken
from simflow.evaluate.protocol import Real
from simflow.evaluate.reference import read_archive
from simflow.files import at_home
from simflow.shapes import NULL

FITS = {
    "crop": "centre square, Pillow's bicubic resize (antialiased) where the size differs",
    "pad": "padded with black, never resized",
}
"""What :mod:`simflow.data.decode` does, in words."""


def is_npz(path: str) -> bool:
    """Whether a path is that of a NumPy archive."""
    return path.lower().endswith(".npz")


def real_images(path: str, *, size: int | None, limit: int | None, console: Console) -> Real:
    """Real images, statistics, or both.

    Args:
        path: an .npz, or any data set.
        size: what the images of a data set are brought to; an archive keeps its own.
        limit: most images, evenly spread; None takes all.
        console: for the bar.

    Raises:
        ValueError: nothing is there, it is damaged, or the size of a data set is not known.
    """
    if not is_npz(path):
        return Real(limited(loaded(path, size=size, console=console), limit), None, path)
    archive = read_archive(at_home(path))
    pictures = None if archive.images is None else limited(archive.images, limit)
    return Real(pictures, archive, path)


def check_there(path: str) -> None:
    """Refuses a path where nothing is.

    Raises:
        ValueError: nothing is there.
    """
    if not is_there(path):
        raise ValueError(f"there is nothing at '{path}'")


def loaded(path: str, *, size: int | None, console: Console) -> ImageSet:
    """The images of a data set in colour, at one size.

    Raises:
        ValueError: nothing is there, or the size is not known.
    """
    check_there(path)
    if size is None:
        raise ValueError(
            f"say to which size the images of {path} are to be brought with --image-size: resizing moves every figure"
        )
    return load_showing(DataConfig(path=path, image_size=size, channels=3), console)


def limited(pictures: Pictures, limit: int | None) -> Pictures:
    """Up to ``limit`` of the images, evenly spread; all of them, where they are, if there are no more."""
    if limit is None or len(pictures) <= limit:
        return pictures
    some = taken(pictures, spread(len(pictures), limit))
    tell_unreadable(pictures)
    return some


def tell_unreadable(*parts: Pictures | str | None) -> None:
    """Warns of the images of parts of one data set that could not be read, of each once; what is no data set has none.

    To be called when all have been looked at: sets too large to be held find out only then.
    """
    told: Set[str] = frozenset()
    for part in parts:
        if isinstance(part, ImageSet):
            told = tell_skipped(part, told)


def described(pictures: Pictures | None, *, fit: str = "crop") -> dict[str, Any]:
    """Number, size and classes of images, for JSON; of a data set also how its pictures became squares."""
    if pictures is None:
        return {"count": None, "channels": None, "height": None, "width": None, "by_class": None}
    _, channels, height, width = pictures.images([0]).shape
    record: dict[str, Any] = {"count": len(pictures), "channels": channels, "height": height, "width": width}
    record["by_class"] = by_class(pictures)
    if isinstance(pictures, ImageSet):
        record |= {"fingerprint": pictures.fingerprint, "fit": FITS[fit], "unreadable": len(pictures.skipped)}
    return record


def by_class(pictures: Pictures) -> dict[str, int] | None:
    """Images of each class; None without classes."""
    if not pictures.class_names or int(pictures.labels.min()) == NULL:
        return None
    counts = torch.bincount(pictures.labels, minlength=len(pictures.class_names)).tolist()
    return dict(zip(pictures.class_names, counts, strict=True))
