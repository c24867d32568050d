"""An npz archive of images that is written as they come, so that a job of any length holds no more than a batch.

It is the one that guided-diffusion's evaluator reads: ``arr_0`` uint8 NHWC, ``arr_1`` int64 labels. That evaluator
knows RGB only, so the one channel of gray images is written three times.
"""

import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from einops import rearrange

from simflow.files import replacing
from simflow.pixels import Bytes


@contextmanager
def npz_stream(path: Path, labels: Sequence[int], *, side: int) -> Iterator[Callable[[Bytes], None]]:
    """Lends a function that appends images; ``path`` is there, whole, when the block ends.

    Args:
        path: of the archive; its folder is made if need be.
        labels: of all images.
        side: of the square images, in pixels.

    Raises:
        ValueError: there were more or fewer images than labels.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(labels), side, side, 3)}
    written = 0
    with replacing(path) as part, zipfile.ZipFile(part, "w") as archive:
        with archive.open("arr_1.npy", "w") as entry:
            np.lib.format.write_array(entry, np.asarray(labels, dtype=np.int64), allow_pickle=False)
        with archive.open("arr_0.npy", "w", force_zip64=True) as entry:
            np.lib.format.write_array_header_1_0(entry, header)

            def append(images: Bytes) -> None:
                nonlocal written
                written += len(images)
                colour = images.cpu().expand(-1, 3, -1, -1)
                entry.write(rearrange(colour, "b c h w -> b h w c").contiguous().numpy().tobytes())

            yield append
        if written != len(labels):
            raise ValueError(f"there are {written} images and {len(labels)} labels")
