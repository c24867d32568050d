"""Images in a NumPy ``.npz`` file: uint8 ``images`` or ``arr_0``, class numbers ``labels`` or ``arr_1``.

``arr_0`` and ``arr_1`` are the names of ADM's sample and reference files. Images are ``(n, h, w)``, ``(n,
h, w, c)`` or ``(n, c, h, w)`` with 1 or 3 channels; channels last is meant when a shape can be read both
ways. The whole file is held in memory.
"""

import zipfile
import zlib
from pathlib import Path

import numpy as np
from einops import rearrange
from numpy.typing import NDArray

from simflow.data.source import Source, from_arrays


def read_npz(path: Path) -> Source:
    """The images and labels of ``path``; names of classes may stand beside it in a ``classes.txt``.

    Raises:
        ValueError: the file is damaged or its arrays are not as described above.
    """
    require_archive(path)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images = _first(arrays, ("images", "arr_0"))
            labels = _first(arrays, ("labels", "arr_1"))
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise ValueError(f"{path} is not a readable npz file: {error}") from error
    except ValueError as error:  # NumPy's own words advise to let the file run code
        raise ValueError(f"{path} is not a readable npz file: it holds objects or damaged arrays") from error
    if images is None:
        raise ValueError(f"{path} has no array called images or arr_0")
    if images.dtype != np.uint8:
        raise ValueError(f"the images of {path} must be uint8, not {images.dtype}")
    images = _channels_last(images, path=path)
    if labels is not None and (labels.dtype.kind not in "iu" or labels.size != len(images)):
        raise ValueError(
            f"the labels of {path} must be one integer an image, for {len(images)} images, not {labels.dtype} "
            f"{labels.shape}"
        )
    return from_arrays(
        images,
        None if labels is None else labels.reshape(-1),
        path=path,
        classes_beside=path.parent,
    )


def require_archive(path: Path) -> None:
    """Refuses a file that is no archive at all, which NumPy would take for a pickle.

    Raises:
        ValueError: it is none.
    """
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is not a readable npz file: it is empty, damaged or something else")


def _first(arrays: np.lib.npyio.NpzFile, keys: tuple[str, ...]) -> NDArray | None:
    return next((arrays[key] for key in keys if key in arrays.files), None)


def _channels_last(images: NDArray[np.uint8], *, path: Path) -> NDArray[np.uint8]:
    match images.shape:
        case (_, _, _) | (_, _, _, 1 | 3):
            return images
        case (_, 1 | 3, _, _):
            return rearrange(images, "n c h w -> n h w c")
    raise ValueError(
        f"the images of {path} must be (n, h, w), (n, h, w, c) or (n, c, h, w) with 1 or 3 channels, "
        f"not {images.shape}"
    )
