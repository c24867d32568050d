"""The folder of ``simflow sample``: images of one kind, which calls go on with and add to.

::

    samples.json      what makes the images: weights, way of sampling, classes
    000123.png ...    named by their seeds
    labels.csv        seed and class of all images that are there; the last to be written (simflow.export)
    grid.png ...      pictures of them
    .lock             held while a process writes here

An image is made by its seed and by what ``samples.json`` says, so those that are there are not made again, and those of
other seeds are added. Images of another kind are not mixed in, nor are they removed unless that is asked for. Files
that are not from here are never touched: a folder with such ones is refused.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from PIL import Image

from simflow.data.manifest import LIST
from simflow.evaluate.figures import finite
from simflow.evaluate.shards import RECORD, completed, sampling_of
from simflow.export import clear_png_folder, lists_of, png_name, seeds_listed
from simflow.files import read_json
from simflow.model import Facts, Model
from simflow.pixels import Bytes
from simflow.records import differences, differing
from simflow.sample import SampleConfig
from simflow.tensors import sha256_of_tensors

PICTURES = ("grid.png", "trajectory.png", "denoise.png", "sweep.png")
"""What stands beside the images and is none of them."""

WEIGHTS = "sha256"
"""Where a record has the sum of the weights."""

CHUNK = 64
"""Images read back at once."""


def making(model: Model, config: SampleConfig, *, labels: str) -> dict[str, Any]:
    """What decides how the image of a seed looks: weights, way of sampling, and the classes that were asked for."""
    weights = sha256_of_tensors(model.state_dict())
    return finite({"labels": labels, WEIGHTS: weights, "sampling": sampling_of(config)})


def require_own(folder: Path) -> None:
    """Refuses a folder that holds something else; folders in it may be there.

    Raises:
        ValueError: it is a file, or there are files in it that did not come from here.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"'{folder}' is a file, not a folder for samples: give another --out")
    foreign = sorted(foreign_files(folder)) if folder.is_dir() else []
    if foreign:
        others = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise ValueError(
            f"'{folder}' holds files that simflow sample did not make ({foreign[0]}{others}): give another --out"
        )


def foreign_files(folder: Path) -> set[str]:
    """The files that no call of ``simflow sample`` has written, but for hidden ones.

    Beside the lists of its images they are in nobody's way, unless they are called as such a file is.
    """
    files = {path.name for path in folder.iterdir() if not path.is_dir() and not path.name.startswith(".")}
    lists = lists_of(folder)
    if not lists:
        return files - {RECORD, *PICTURES} if (folder / RECORD).is_file() else files
    listed = {png_name(seed) for seed in seeds_listed(folder)}
    foreign = {name for name in files if re.fullmatch(r"\d{6,}\.png", name)} - listed
    return foreign | (files & {LIST} - {path.name for path in lists})


def there(folder: Path, made: dict[str, Any], *, replace: bool) -> list[int]:
    """The seeds whose images are in a folder and of the kind that is asked for, ascending.

    Args:
        folder: one that :func:`require_own` has let pass.
        made: what :func:`making` gives.
        replace: to remove what is there before.

    Raises:
        ValueError: images of another kind are there, or of one that nobody knows; what differs is named.
    """
    if replace:
        clear_png_folder(folder)
        for name in PICTURES:
            (folder / name).unlink(missing_ok=True)
    seeds = [seed for seed in seeds_listed(folder) if (folder / png_name(seed)).is_file()]
    said = otherwise(folder, made) if seeds else ""
    if said:
        raise ValueError(
            f"the {len(seeds)} images in '{folder}' {said}: give another --out, or --replace to remove them"
        )
    return seeds


def otherwise(folder: Path, made: dict[str, Any]) -> str:
    """How images of a folder were made otherwise, in words; nothing if they were not."""
    try:
        note = completed(read_json(folder / RECORD))
    except (OSError, ValueError):
        return f"have no {RECORD} that says what made them"
    said = [
        "by other weights" if path == WEIGHTS else differing(note, made, path)
        for path in differences(note, made)
    ]
    return f"were made otherwise ({'; '.join(said)})" if said else ""


def left(seeds: Sequence[int], found: Sequence[int], *, together: int) -> list[int]:
    """The seeds whose images are to be made: whole groups of ``together``, which are sampled at once, so
    that all images are the same as if there had been no interruption.

    >>> left([0, 1, 2, 3, 14, 15, 16], [0, 1, 2, 3, 14, 16], together=2)
    [14, 15]
    """
    known = set(found)
    groups = [seeds[start : start + together] for start in range(0, len(seeds), together)]
    return [seed for group in groups if not known.issuperset(group) for seed in group]


def read_back(folder: Path, seeds: Sequence[int], facts: Facts) -> Iterator[Bytes]:
    """Images that are there, in batches."""
    for start in range(0, len(seeds), CHUNK):
        pixels = []
        for seed in seeds[start : start + CHUNK]:
            with Image.open(folder / png_name(seed)) as picture:
                pixels.append(np.asarray(picture.convert("L" if facts.channels == 1 else "RGB")))
        stacked = np.stack(pixels).reshape(len(pixels), facts.image_size, facts.image_size, facts.channels)
        yield rearrange(torch.from_numpy(stacked), "b h w c -> b c h w")
