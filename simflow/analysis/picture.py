"""A picture in rows with captions, kept as bytes until somebody knows how it is to be shown.

An analysis makes them, ``pictures.npz`` keeps them, and they are shown twice: as contact sheets (PNG files) and,
with captions in type, on the page of the report.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from simflow.export import enlargement, labelled_grid
from simflow.files import replacing


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """Rows of images of one size; as many captions as rows."""

    captions: tuple[str, ...]
    """What stands beside each row; each a different one."""
    images: UInt8[Tensor, "rows columns channels height width"]

    def __post_init__(self) -> None:
        assert len(set(self.captions)) == len(self.captions) == len(self.images)

    @property
    def columns(self) -> int:
        """Images in a row."""
        return self.images.shape[1]

    def sheet(self) -> Image.Image:
        """A contact sheet with the captions at the left."""
        rows = dict(zip(self.captions, self.images, strict=True))
        return labelled_grid(rows, scale=enlargement(self.images.shape[-1]))


def save_pictures(path: Path, pictures: Mapping[str, Picture]) -> None:
    """Writes all pictures, by name, into one ``.npz`` archive of plain arrays."""
    arrays: dict[str, np.ndarray] = {}
    for name, picture in pictures.items():
        arrays[f"{name}.images"] = picture.images.numpy()
        arrays[f"{name}.captions"] = np.array(picture.captions, dtype=np.str_)
    with replacing(path) as part, part.open("wb") as file:
        np.savez_compressed(file, **arrays)  # pyright: ignore[reportArgumentType]


def load_pictures(path: Path) -> dict[str, Picture]:
    """What :func:`save_pictures` wrote.

    Raises:
        ValueError: the file is damaged, or something else.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            names = [key.removesuffix(".images") for key in arrays.files if key.endswith(".images")]
            return {
                name: Picture(
                    captions=tuple(arrays[f"{name}.captions"].tolist()),
                    images=torch.from_numpy(arrays[f"{name}.images"]),
                )
                for name in names
            }
    except (BadZipFile, KeyError, EOFError, ValueError) as error:
        raise ValueError(f"'{path}' is damaged, or not written by simflow analyze") from error
