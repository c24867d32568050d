"""The images that a trained run is held against: another split of its data, if there is one."""

from dataclasses import replace

from simflow.config import RunConfig
from simflow.data.find import find
from simflow.data.images import ImageSet, load
from simflow.pixels import to_float
from simflow.shapes import Images


def held_out(config: RunConfig, path: str | None, split: str | None) -> tuple[ImageSet, str]:
    """The images at ``path``, or of the run's own data, and what to call them.

    Without a split, it is ``test`` or else ``validation``; of images that are not divided, all of them.

    Raises:
        ValueError: there are no images, or no such split.
    """
    path = config.data.path if path is None else path
    if split is None:
        find(path, split=None)
        split = next((name for name in ("test", "validation") if has_split(path, name)), None)
    images = load(replace(config.data, path=path, split=split))
    return images, f"{path} ({'all images' if split is None else split})"


def has_split(path: str, split: str) -> bool:
    """Whether an image set that is there has a split of this name."""
    try:
        find(path, split=split)
    except ValueError:
        return False
    return True


def signed(images: ImageSet, numbers: list[int]) -> Images:
    """Images of a set in [-1, 1].

    Raises:
        ValueError: there is no image of such a number.
    """
    for number in numbers:
        if number >= len(images):
            raise ValueError(f"there is no image {number}: the set has {len(images)}, counted from 0")
    return to_float(images.images(numbers))
