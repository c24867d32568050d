"""Which images of a set are meant: one of its splits; or of a set that is not divided, what is trained on or held out.

The share ``data.hold_out`` of an undivided set is kept from training and is its test split from then on. Whether an
image belongs to it follows from its class folder and file alone (or from its number, where pixels or tables are one
after the other), so the division is the same in every command, on every machine and however the set is packed, and
images that are added to its folders move none from one side to the other. Only a second class folder beside the first
divides the set anew: a folder that all images share is no class, so until then the file alone has decided.
Near-duplicates (``data.alike``) stay together.
"""

import re
from collections.abc import Hashable
from dataclasses import replace
from hashlib import blake2b

import numpy as np

from simflow.data.config import DataConfig
from simflow.data.find import find, listed
from simflow.data.source import Source, complete
from simflow.data.splits import meant


def find_part(config: DataConfig) -> Source:
    """Lists the images that a configuration means.

    Raises:
        ValueError: as :func:`simflow.data.find.find`; or a set that is divided already is to be divided, or one side of
            the division has no image.
    """
    if not config.hold_out:
        return find(config.path, split=config.split, label=config.label)
    everything = listed(config.path, split=None, label=config.label)
    if everything.splits - {"train"}:
        raise ValueError(
            f"{config.path} is divided already ({', '.join(sorted(everything.splits))}): "
            "data.hold_out is for sets that are not, leave it at 0"
        )
    return side_of(complete(everything, where=config.path), config, where=config.path)


def side_of(everything: Source, config: DataConfig, *, where: str) -> Source:
    """The images of an undivided set that are trained on or, if ``config.split`` is "test", held out.

    Raises:
        ValueError: another split is asked for, or one side of the division has no image.
    """
    if config.split is None:
        raise ValueError("data.split null takes all images, and data.hold_out keeps some apart: choose one")
    wanted = meant(config.split)
    if wanted not in ("train", "test"):
        raise ValueError(
            f"there is no split {config.split!r} in {where}: data.hold_out divides it into train and test"
        )
    kin_of = (kin(key, config.alike) for key in everything.keys)
    kept = np.array([is_held_out(each, config) for each in kin_of]) == (wanted == "test")
    if kept.all() or not kept.any():
        count, side = len(kept), "held out" if kept.any() == (wanted == "test") else "trained on"
        raise ValueError(
            f"with data.hold_out at {config.hold_out:g}, all {count} images of {where} would be {side}"
        )
    return chosen(everything, np.flatnonzero(kept))


def chosen(source: Source, rows: np.ndarray) -> Source:
    """Some images of a set, with all its classes."""
    return replace(
        source,
        names=[source.names[row] for row in rows],
        keys=[source.keys[row] for row in rows],
        labels=source.labels[rows],
        marks=[source.marks[row] for row in rows],
        read=lambda index: source.read(int(rows[index])),
    )


def is_held_out(key: Hashable, config: DataConfig) -> bool:
    """Whether the images of an undivided set that have this in common are kept from training."""
    digest = blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < config.hold_out * 2**64


def kin(key: str, pattern: str | None) -> Hashable:
    """What the keys of near-duplicates have in common; of an image without any, its key, which no other has.

    >>> kin("a_v1", "(.*)_v") == kin("a_v2", "(.*)_v"), kin("other", "(.*)_v")
    (True, (None, 'other'))
    """
    found = None if pattern is None else re.search(pattern, key)
    return (None, key) if found is None else (found.groups() or found[0])
