"""A call of ``simflow sample`` that was interrupted goes on where it was.

Beside images that are being made stands a file that says what makes them, and how many there are. The same command
again, or one for more images, takes these up; another begins anew. The file goes when the folder is complete.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from PIL import Image

from simflow.evaluate.figures import finite
from simflow.evaluate.shards import completed, sampling_of
from simflow.export import UNFINISHED, png_name
from simflow.files import read_json, write_json
from simflow.model import Facts, Model
from simflow.pixels import Bytes
from simflow.sample import SampleConfig
from simflow.settings import differences
from simflow.tensors import sha256_of_tensors

MAKING = ".making.json"
"""What the images of an unfinished folder are made with."""

DONE = "done"
"""Where that says how many there are."""

CHUNK = 64
"""Images read back at once."""


def making(model: Model, config: SampleConfig, *, labels: str, seeds: str | None) -> dict[str, Any]:
    """What decides how the images look: weights, way of sampling, and the classes and seeds that were asked for.

    Without ``seeds`` they are 0, 1, ..., and more of them begin alike.
    """
    weights = sha256_of_tensors(model.state_dict())
    return finite({"labels": labels, "seeds": seeds, "sha256": weights, "sampling": sampling_of(config)})


def there(folder: Path, made: dict[str, Any], count: int, *, together: int) -> int:
    """How many of ``count`` images an interrupted call of the same kind has made: whole groups of ``together``, which
    are sampled at once, so that all images are the same as if there had been no interruption."""
    try:
        note = read_json(folder / MAKING)
    except (OSError, ValueError):
        return 0
    done = note.pop(DONE, 0)
    same = not differences(completed(note), made)
    found = min(done, count) if same and (folder / UNFINISHED).is_file() else 0
    return found - found % together


def noting(batches: Iterable[Bytes], folder: Path, made: dict[str, Any], *, done: int) -> Iterator[Bytes]:
    """Passes batches on, each to be written before the next is asked for, and notes how many images there are with
    those ``done`` before."""
    write_json(folder / MAKING, made | {DONE: done})
    for batch in batches:
        yield batch
        done += len(batch)
        write_json(folder / MAKING, made | {DONE: done})


def finish(folder: Path) -> None:
    """The folder is complete."""
    (folder / MAKING).unlink(missing_ok=True)


def read_back(folder: Path, seeds: Sequence[int], facts: Facts) -> Iterator[Bytes]:
    """Images that were written before, in batches."""
    for start in range(0, len(seeds), CHUNK):
        pixels = []
        for seed in seeds[start : start + CHUNK]:
            with Image.open(folder / png_name(seed)) as picture:
                pixels.append(np.asarray(picture.convert("L" if facts.channels == 1 else "RGB")))
        stacked = np.stack(pixels).reshape(len(pixels), facts.image_size, facts.image_size, facts.channels)
        yield rearrange(torch.from_numpy(stacked), "b h w c -> b c h w")
