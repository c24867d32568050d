"""The codes of a frozen encoder, made once: what a prior that learns alone is shown in place of images.

Such a prior sees an image through its code alone, which is the same in every epoch, for all noise comes after it. So
each image is encoded once, and once more mirrored where half of the images are, instead of whenever it is shown: no
picture is decoded and no encoder runs in a step. With several processes each encodes a share.

::

    RUN/codes/
      codes.npy     float16 (2 if mirrored, else 1; images; m; h; w), read where it lies: it may exceed memory
      codes.json    of which images it is, of which encoder, and in what that computed

A run that goes on takes the file as it is, and so ends in the same bytes as one that was never stopped. Rounding to 16
bits moves a number by a two-thousandth of itself at most, a thousandth part of the noise that is added to it.
"""

import logging
import shutil
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float16, Int
from numpy.typing import NDArray
from torch import Tensor

from simflow import distributed
from simflow.data.images import ImageSet
from simflow.files import part_of, read_json, replacing, write_json
from simflow.model import Model
from simflow.pixels import to_float
from simflow.precision import NetworkDtype, computing_in
from simflow.tensors import sha256_of_tensors

logger = logging.getLogger("simflow")

BATCH = 64
"""Images encoded at once, however many train at once and in how many processes, so that no code depends on that."""

SILENCE = 30.0
"""Most seconds between two words on how far the encoding is."""


class Codes:
    """Codes of a set of images, by the numbers of the images; see :class:`~simflow.data.loader.Shown`."""

    def __init__(self, codes: NDArray[np.float16], images: ImageSet) -> None:
        self._codes = codes
        self.labels, self.groups = images.labels, images.groups

    def __len__(self) -> int:
        return self._codes.shape[1]

    def shown(
        self, indices: Int[Tensor, " b"], mirrored: Bool[Tensor, " b"] | None
    ) -> Float16[Tensor, "b m h w"]:
        """Codes of the images of these numbers, of some as they are mirrored."""
        side = 0 if mirrored is None else mirrored.numpy().astype(np.int64)
        return torch.from_numpy(self._codes[side, indices.numpy()])


def kept(folder: Path, model: Model, images: ImageSet, *, flip: bool, dtype: NetworkDtype) -> Codes:
    """The codes of a set of images in a folder, made now if they are not there; collective.

    Args:
        folder: of the run's codes; made if need be.
        model: with the encoder that is frozen, on its device.
        images: the training set.
        flip: mirrored images are wanted as well.
        dtype: that the encoder computes in.

    Raises:
        OSError: there is no room for them.
        ValueError: they are too large for 16 bits.
    """
    file, record = folder / "codes.npy", folder / "codes.json"
    shape = (1 + flip, len(images), *code_shape(model))
    about = {"images": images.fingerprint, "shape": list(shape), "encoder": digest(model), "dtype": dtype}
    if not distributed.from_main(partial(is_there, file, record, about)):
        if distributed.is_main():
            folder.mkdir(parents=True, exist_ok=True)
            record.unlink(missing_ok=True)  # it must never speak of a file that it does not describe
            logger.info("encoding %d images%s", len(images), ", and mirrored" if flip else "")
        with replacing(file) if distributed.is_main() else nullcontext(part_of(file)) as part:
            if distributed.is_main():
                np.lib.format.open_memmap(part, mode="w+", dtype=np.float16, shape=shape)
            distributed.barrier()
            fill(part, model, images, dtype)
            distributed.barrier()
        if distributed.is_main():
            write_json(record, about)
            logger.info("their codes are kept in %s (%.3g GB)", file, file.stat().st_size / 1e9)
        distributed.barrier()
    return Codes(np.load(file, mmap_mode="r"), images)


def forget(folder: Path) -> None:
    """Removes the codes of a run; one process does it for all."""
    if distributed.is_main() and folder.is_dir():
        shutil.rmtree(folder)


def is_there(file: Path, record: Path, about: dict[str, Any]) -> bool:
    """Whether whole codes of this description are there."""
    try:
        return read_json(record) == about and np.load(file, mmap_mode="r").shape == tuple(about["shape"])
    except (OSError, ValueError):
        return False


@torch.no_grad()
def fill(part: Path, model: Model, images: ImageSet, dtype: NetworkDtype) -> None:
    """Writes the codes that fall to this process into a file for all.

    They are written, not mapped into memory: a full disk is then an error and no signal.

    Raises:
        ValueError: a code is too large for 16 bits.
    """
    place = np.load(part, mmap_mode="r")
    mirrored, count, size = len(place), len(images), place[0, 0].nbytes
    with part.open("r+b") as out:
        batches, told = torch.arange(count).split(BATCH), time.monotonic()
        for rows in batches[distributed.rank() :: distributed.world()]:
            if distributed.is_main() and time.monotonic() - told > SILENCE:
                told = time.monotonic()
                logger.info("encoded %d of %d", rows[0], count)
            signed = to_float(images.images(rows).to(model.device))
            for side in range(mirrored):
                with computing_in(dtype, model.device):
                    code = model.autoencoder.encode(signed.flip(-1) if side else signed)
                half = code.half().cpu()
                if not half.isfinite().all():
                    raise ValueError(
                        "the codes are too large to be kept in 16 bits: leave train.codes at fresh"
                    )
                out.seek(place.offset + (side * count + int(rows[0])) * size)
                out.write(half.numpy().tobytes())


def code_shape(model: Model) -> tuple[int, int, int]:
    """Channels, height and width of a code."""
    channels, height, width = model.latent_shape
    return channels * model.posterior.moments, height, width


def digest(model: Model) -> str:
    """What tells encoders apart by their weights."""
    parts = enumerate(model.autoencoder.encoder_parts())
    return sha256_of_tensors({f"{i}.{name}": t for i, part in parts for name, t in part.state_dict().items()})
