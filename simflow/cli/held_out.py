"""The images that a trained run is evaluated against: another split of its data, if there is one."""

from pathlib import Path

from simflow.config import RunConfig
from simflow.data import held_out as data
from simflow.data.config import DataConfig
from simflow.data.find import is_there
from simflow.data.images import ImageSet, tell_skipped
from simflow.files import at_home
from simflow.pixels import to_float
from simflow.shapes import Images


def held_out(config: RunConfig, path: str | None, split: str | None) -> tuple[ImageSet, str]:
    """The images at ``path``, or of the run's own data, and what to call them.

    Raises:
        ValueError: there are no images, or no such split.
    """
    if path is None:
        check_data(config.data)
    return data.held_out(config.data, path=path, split=split)


def check_data(config: DataConfig) -> None:
    """Refuses to look for images where nothing is: a recipe may have only a placeholder for their path.

    Raises:
        ValueError: there is nothing at the path of the images.
    """
    if not is_there(config.path):
        from_here = "" if at_home(config.path).is_absolute() else f" (this is {Path.cwd()})"
        raise ValueError(
            f"there are no images at '{config.path}': say where they are with --data PATH{from_here}"
        )


def signed(images: ImageSet, numbers: list[int]) -> Images:
    """Images of a set in [-1, 1]; a warning names those that cannot be read.

    Raises:
        ValueError: there is no image of such a number.
    """
    for number in numbers:
        if number >= len(images):
            raise ValueError(f"there is no image {number}: the set has {len(images)}, counted from 0")
    read = images.images(numbers)
    tell_skipped(images)
    return to_float(read)
