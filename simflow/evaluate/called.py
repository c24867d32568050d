"""What to call the images that stand for unseen ones: training images where a run's data set has no others."""

from collections.abc import Mapping
from typing import Any

NONE_HELD_OUT = "there are no held-out images: what is said of unseen images is said of training images"
"""Stands among what is left out of an evaluation whose unseen images are the training images."""


def name_of_unseen(*, held_out: bool) -> str:
    """The name of the images that stand for unseen ones, by whether there are any."""
    return "held-out images" if held_out else "training images"


def unseen_of(record: Mapping[str, Any]) -> str:
    """The name of an evaluation's unseen images.

    >>> unseen_of({"left_out": []}), unseen_of({"left_out": [NONE_HELD_OUT]})
    ('held-out images', 'training images')
    """
    return name_of_unseen(held_out=NONE_HELD_OUT not in (record.get("left_out") or ()))
