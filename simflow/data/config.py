"""What a user chooses about the data: where it is, how a picture becomes a square, which files may be bad."""

import os
import re
from dataclasses import dataclass
from typing import Literal

from simflow.bounds import share


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Choices about one image set.

    Raises:
        ValueError: a field is out of range.
    """

    path: str
    """A folder, a .zip, .tar, .tar.gz, .tar.xz or .npz file, a folder of such archives or a tar file of tar files, idx
    files, .parquet files or .tar files of WebDataset, or ``hub:OWNER/NAME`` (a data set of the Hugging Face hub),
    ``embedded:fashion-mnist`` (6 000 training images) or ``embedded:fashion-mnist-heldout`` (1 000 images never to be
    trained on). A ``Path`` is kept as text."""

    split: str | None = "train"
    """Which of train, validation or test. A set that is not divided has only ``train``, which is all of it (unless
    ``hold_out`` divides it).
    None takes all splits together."""

    label: str | None = None
    """The column with the classes, of Parquet files and of metadata.csv or .jsonl. None: the one called label, or of
    Parquet files the one that says it is of classes."""

    hold_out: float = 0.0
    """The share of a set that is not divided which is never trained on and becomes its split ``test``, from 0 to below
    1. An image's class folder and file name decide, so images that are added later move none from one side to the
    other, unless they make a second class folder beside an only one."""

    image_size: int
    """Height and width in pixels of the images handed out."""

    channels: int = 3
    """3 for RGB, 1 for gray; pictures of the other kind are converted."""

    fit: Literal["crop", "pad"] = "crop"
    """``crop``: the centre square, resized. ``pad``: centred on a black canvas, never resized."""

    background: tuple[int, int, int] = (255, 255, 255)
    """The colour behind transparent pixels, each 0 to 255."""

    flip: bool = True
    """Mirror half of the training images left to right. Turn it off for letters and digits."""

    alike: str | None = None
    """A regular expression; images in whose names (class folder and file, ``dog/rex_v1.png``, however the set is
    packed) its groups (or all of it) find the same text are near-duplicates and count as one: an epoch shows one of
    them, drawn anew. ``'([^/]+)_v[0-9]+'`` takes a_v1 and a_v2 together."""

    corrupt: Literal["skip", "stop"] = "skip"
    """``skip``: leave unreadable images out and name them. ``stop``: refuse the set, naming the first."""

    cache_gib: float = 4.0
    """Decoded images are kept in memory if all of them fit in this many GiB (in each process), and decoded
    again whenever they are needed if not."""

    workers: int = 4
    """Threads that decode."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", os.fspath(self.path))
        if not self.path.strip():
            raise ValueError(
                "data.path is empty: say where the images are with --data PATH ('.' is this folder)"
            )
        if self.image_size < 1:
            raise ValueError(f"data.image_size must be at least 1 pixel, not {self.image_size}")
        share(self, "data", "hold_out")
        if self.channels not in (1, 3):
            raise ValueError(f"data.channels must be 1 (gray) or 3 (RGB), not {self.channels}")
        if self.fit not in ("crop", "pad"):
            raise ValueError(f"data.fit must be 'crop' or 'pad', not {self.fit!r}")
        if self.corrupt not in ("skip", "stop"):
            raise ValueError(f"data.corrupt must be 'skip' or 'stop', not {self.corrupt!r}")
        if self.alike is not None:
            try:
                re.compile(self.alike)
            except re.error as error:
                raise ValueError(
                    f"data.alike is not a regular expression: {error} in {self.alike!r}"
                ) from error
        if len(self.background) != 3 or not all(0 <= level <= 255 for level in self.background):
            raise ValueError(f"data.background must be three numbers from 0 to 255, not {self.background}")
        if self.cache_gib < 0:
            raise ValueError(f"data.cache_gib must not be negative, but it is {self.cache_gib}")
        if self.workers < 1:
            raise ValueError(f"data.workers must be at least 1 thread, not {self.workers}")
