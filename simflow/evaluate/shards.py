"""Samples of a run on disk, in pieces: what was sampled once is not sampled again.

::

    samples/
      samples.json              what makes them: weights, way of sampling, classes
      0000000-0000499.npz       arr_0 uint8 NHWC, arr_1 labels, seeds; named by the numbers of its images

Image ``i`` has the seed and the class that the caller gives the ``i``-th, so it is the same image in whatever piece it
lies, on whatever process. A stopped call goes on where it was; a call for more images keeps the whole pieces that are
there. Pieces are written under another name and renamed. Samples of other weights or settings are never mixed in: the
folder's ``samples.json`` must agree. A way of sampling is compared as a whole: a setting that an older version did not
know, and did not write, stands there at its default.
"""

import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Int
from torch import Tensor

from simflow.distributed import barrier, is_main, rank, world
from simflow.evaluate.figures import finite
from simflow.files import read_json, replacing, write_json
from simflow.model import Model
from simflow.pixels import Bytes
from simflow.records import differences, differing
from simflow.sample import SampleConfig, sample
from simflow.settings import from_dict, to_dict

PIECE = 500
"""Images in a piece."""

RECORD = "samples.json"


class Shards:
    """Sampled images, read from their pieces when they are wanted; see :class:`~simflow.evaluate.collect.Pictures`."""

    def __init__(self, folder: Path, count: int, labels: Sequence[int], class_names: tuple[str, ...]) -> None:
        self.folder, self.count = folder, count
        self.labels: Int[Tensor, " n"] = torch.tensor(labels, dtype=torch.int64)
        self.class_names = class_names
        self._open: tuple[Path, np.ndarray] | None = None

    def __len__(self) -> int:
        return self.count

    def images(self, indices: Int[Tensor, " b"] | Sequence[int]) -> Bytes:
        """Images of these numbers, ``(b, channels, height, width)``."""
        found = [self._piece(int(i))[int(i) % PIECE] for i in torch.as_tensor(indices).tolist()]
        stacked = np.stack(found) if found else self._piece(0)[:0]
        return torch.from_numpy(rearrange(stacked, "b h w c -> b c h w").copy())

    def _piece(self, number: int) -> np.ndarray:
        path = self.folder / name_of(number // PIECE, self.count)
        if self._open is None or self._open[0] != path:
            with np.load(path, allow_pickle=False) as file:
                self._open = path, file["arr_0"]
        return self._open[1]


def name_of(piece: int, count: int) -> str:
    """The file of a piece of ``count`` images.

    >>> name_of(1, 700)
    '0000500-0000699.npz'
    """
    return f"{piece * PIECE:07d}-{min((piece + 1) * PIECE, count) - 1:07d}.npz"


def make(
    model: Model,
    folder: Path,
    *,
    seeds: Sequence[int],
    labels: Sequence[int],
    config: SampleConfig,
    record: dict[str, Any],
    on_progress: Callable[[int], None] = lambda images: None,
) -> Shards:
    """Samples what is not there yet; collective, pieces are shared out in turn.

    Args:
        model: with the weights to sample from.
        folder: made if need be.
        seeds: of all images, ascending by one from image to image.
        labels: of all images.
        config: how to sample.
        record: what else makes the samples, such as the weights; JSON-able, without their number.
        on_progress: called with the number of images that are there or were sampled, by this process.

    Raises:
        ValueError: the folder holds samples of other weights or settings.
    """
    begin(folder, record | {"sampling": sampling_of(config)})
    for piece in range(rank(), -(-len(seeds) // PIECE), world()):
        part = slice(piece * PIECE, min((piece + 1) * PIECE, len(seeds)))
        path = folder / name_of(piece, len(seeds))
        if not is_whole(path, seeds[part]):
            _write(model, path, seeds[part], labels[part], config, on_progress)
        else:
            on_progress(part.stop - part.start)
    barrier()
    return Shards(folder, len(seeds), labels, model.facts.class_names)


def begin(folder: Path, record: dict[str, Any]) -> None:
    """Writes the record, or compares it with the one that is there.

    Raises:
        ValueError: they differ, and what differs is named; or the one there is damaged.
    """
    file = folder / RECORD
    if file.is_file():
        there, here = completed(read_json(file)), finite(record)
        said = "; ".join(differing(there, here, path) for path in differences(there, here))
        if said:
            raise ValueError(
                f"the samples in {folder} were made otherwise ({said}); give another --name or --out"
            )
    barrier()
    if is_main() and not file.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        write_json(file, finite(record))
    barrier()


def sampling_of(config: SampleConfig) -> dict[str, Any]:
    """The way of sampling as a record has it: without the batch, on which images do not depend."""
    return {name: value for name, value in to_dict(config).items() if name != "batch"}


def completed(record: dict[str, Any]) -> dict[str, Any]:
    """A record that was read, with the settings that its version did not know at their defaults.

    A way of sampling that this version does not know stays as it is, and so differs from any other.
    """
    try:
        config = from_dict(SampleConfig, record["sampling"])
    except ValueError:
        return record
    return record | {"sampling": sampling_of(config)}


def is_whole(path: Path, seeds: Sequence[int]) -> bool:
    """Whether a piece is there, can be read, and has exactly these seeds; if not, it is sampled again."""
    if not path.is_file():
        return False
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            return file["seeds"].tolist() == list(seeds) and len(file["arr_0"]) == len(seeds)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, KeyError, ValueError):
        return False


def _write(
    model: Model,
    path: Path,
    seeds: Sequence[int],
    labels: Sequence[int],
    config: SampleConfig,
    on_progress: Callable[[int], None],
) -> None:
    parts = []
    for batch in sample(model, seeds=seeds, labels=labels, config=config):
        parts.append(rearrange(batch.images.numpy(), "b c h w -> b h w c"))
        on_progress(len(batch.seeds))
    with replacing(path) as part, part.open("wb") as file:
        np.savez(file, arr_0=np.concatenate(parts), arr_1=np.asarray(labels), seeds=np.asarray(seeds))
