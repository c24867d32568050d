"""The images that a model has not seen: another split of the same set, if there is one."""

import logging
from collections.abc import Sequence, Set
from dataclasses import replace

from simflow.data.config import DataConfig
from simflow.data.decode import TooLarge
from simflow.data.find import listed
from simflow.data.images import ImageSet, load
from simflow.data.metadata import NoColumn
from simflow.data.splits import meant
from simflow.distributed import is_main

logger = logging.getLogger(__name__)

TESTED, CHOSEN_BY = ("test", "validation"), ("validation", "test")
"""Splits that a finished model is judged by, and those that choices are made by, the likeliest first."""


def held_out(
    config: DataConfig, *, path: str | None = None, split: str | None = None
) -> tuple[ImageSet, str]:
    """The images at ``path``, or of the set's own place, and what to call them.

    Without a split, it is ``test`` or else ``validation``; of the set's own images, where they are not divided, what
    was held out of them; and where there is none of these, all. At another place ``hold_out`` counts only where a split
    is named, and ``label`` where there is such a column; and where a picture is larger than the canvas of ``pad``, all
    are cropped and resized, and a warning says so.

    Raises:
        ValueError: there are no images, or no such split.
    """
    own = path is None or path == config.path
    here = config if path is None else replace(config, path=path)
    try:
        divided = parts(here)
    except NoColumn:
        if own:
            raise
        here = replace(here, label=None)
        divided = parts(here)
    if divided or not (own or split):
        here = replace(here, hold_out=0.0)
    if split is not None:
        here = replace(here, split=split)
    elif own:
        seen = here if divided else replace(here, split=None, hold_out=0.0)
        here = unseen_among(divided, here, TESTED) or seen
    else:
        here = replace(here, split=next((name for name in TESTED if name in divided), None))
    called = f"{here.path} ({here.split or 'all images'})"
    try:
        return load(here), called
    except TooLarge:
        if own:
            raise
        if is_main():
            logger.warning(
                "%s has pictures larger than the %d px on which the model's own are padded: "
                "all are cropped and resized",
                called,
                here.image_size,
            )
        return load(replace(here, fit="crop")), called


def unseen_part(config: DataConfig, likely: Sequence[str]) -> DataConfig | None:
    """The choice of the images that a model trained on ``config`` has not seen, the first of the ``likely`` splits that
    there is; None if it has seen all.

    Raises:
        ValueError: there are no images.
    """
    return unseen_among(parts(config), config, likely)


def unseen_among(divided: Set[str], config: DataConfig, likely: Sequence[str]) -> DataConfig | None:
    """:func:`unseen_part` of a set that is divided so."""
    if config.split is None:
        return None
    there = (divided or ({"test"} if config.hold_out else set())) - {meant(config.split)}
    found = next((name for name in likely if name in there), None)
    return None if found is None else replace(config, split=found)


def parts(config: DataConfig) -> frozenset[str]:
    """The splits of a set beside ``train``, none if it is not divided.

    Raises:
        ValueError: there are no images.
    """
    return listed(config.path, split=None, label=config.label).splits - {"train"}
