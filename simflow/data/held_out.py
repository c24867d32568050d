"""The images that a model has not seen: another split of the same set, if there is one."""

from dataclasses import replace

from simflow.data.config import DataConfig
from simflow.data.find import find
from simflow.data.images import ImageSet, load


def held_out(
    config: DataConfig, *, path: str | None = None, split: str | None = None
) -> tuple[ImageSet, str]:
    """The images at ``path``, or of the set's own place, and what to call them.

    Without a split, it is ``test`` or else ``validation``; of images that are not divided, all of them.

    Raises:
        ValueError: there are no images, or no such split.
    """
    path = config.path if path is None else path
    if split is None:
        find(path, split=None)
        split = next((name for name in ("test", "validation") if has_split(path, name)), None)
    images = load(replace(config, path=path, split=split))
    return images, f"{path} ({'all images' if split is None else split})"


def has_split(path: str, split: str) -> bool:
    """Whether an image set that is there has a split of this name."""
    try:
        find(path, split=split)
    except ValueError:
        return False
    return True
