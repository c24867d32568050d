"""Images in a NumPy ``.npz`` file: uint8 ``images`` or ``arr_0``, class numbers ``labels`` or ``arr_1``.

``arr_0`` and ``arr_1`` are the names of ADM's sample and reference files. Their shapes are those of
:mod:`simflow.data.arrays`. The whole file is held in memory.
"""

import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simflow.data.arrays import source_of
from simflow.data.source import Source, names_beside


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
    return source_of(images, labels, names_beside(path.parent), name=path.name, where=str(path))


def require_archive(path: Path) -> None:
    """Refuses a file that is no archive at all, which NumPy would take for a pickle.

    Raises:
        ValueError: it is none.
    """
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is not a readable npz file: it is empty, damaged or something else")


def _first(arrays: np.lib.npyio.NpzFile, keys: tuple[str, ...]) -> NDArray | None:
    return next((arrays[key] for key in keys if key in arrays.files), None)
