"""Images in a NumPy ``.npz`` file: uint8 ``images`` or ``arr_0``, class numbers ``labels`` or ``arr_1``.

``arr_0`` and ``arr_1`` are the names of ADM's sample and reference files. Their shapes are those of
:mod:`simflow.data.arrays`. The whole file is held in memory.
"""

import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simflow.data.arrays import source_of
from simflow.data.source import Source, names_beside

IMAGES, LABELS = ("images", "arr_0"), ("labels", "arr_1")
"""The names of either, the preferred one first."""


def read_npz(path: Path) -> Source:
    """The images and labels of ``path``; names of classes may stand beside it in a ``classes.txt``.

    Raises:
        ValueError: the file is damaged or its arrays are not as described above.
    """
    images, labels = pair_in(arrays_of(path, (*IMAGES, *LABELS)))
    if images is None:
        raise ValueError(f"{path} has no array called images or arr_0")
    return source_of(images, labels, names_beside(path.parent), name=path.name, where=str(path))


def arrays_of(path: Path, names: Iterable[str]) -> dict[str, NDArray]:
    """Those of the named arrays that an ``.npz`` file has.

    Raises:
        ValueError: it is no such file, it is damaged, or one of them holds objects.
    """
    if not zipfile.is_zipfile(path):  # NumPy would take it for a pickle
        raise ValueError(f"{path} is not a readable npz file: it is empty, damaged or something else")
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            return {name: file[name] for name in names if name in file.files}
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise ValueError(f"{path} is not a readable npz file: {error}") from error
    except ValueError as error:  # NumPy's own words advise to let the file run code
        raise ValueError(f"{path} is not a readable npz file: it holds objects or damaged arrays") from error


def pair_in(arrays: Mapping[str, NDArray]) -> tuple[NDArray | None, NDArray | None]:
    """The images and the labels among arrays, None for what is not there."""
    images, labels = (
        next((arrays[name] for name in names if name in arrays), None) for names in (IMAGES, LABELS)
    )
    return images, labels
