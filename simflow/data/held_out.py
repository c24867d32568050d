"""The images that a model has not seen: another split of the same set, if there is one."""

from collections.abc import Sequence
from dataclasses import replace

from simflow.data.config import DataConfig
from simflow.data.find import find
from simflow.data.images import ImageSet, load


def held_out(
    config: DataConfig,
    *,
    path: str | None = None,
    split: str | None = None,
    likely: Sequence[str] = ("test", "validation"),
) -> tuple[ImageSet, str]:
    """The images at ``path``, or of the set's own place, and what to call them.

    Without a split, it is the first of the ``likely`` ones that there is; of images that are not divided, what was held
    out of them, or else all; and all of those of a run that is trained on all splits.

    Raises:
        ValueError: there are no images, or no such split.
    """
    likely = () if config.split is None else likely  # all of them are trained on
    config = replace(config, path=config.path if path is None else path, split=split)
    if split is None or config.hold_out:
        divided = find(config.path, split=None).splits - {"train"}
        if divided:
            config = replace(config, hold_out=0.0)
        there = divided or ({"test"} if config.hold_out else set())
        config = replace(config, split=split or next((name for name in likely if name in there), None))
    return load(config), f"{config.path} ({config.split or 'all images'})"
