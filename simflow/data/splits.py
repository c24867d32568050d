"""Choosing a part of a divided set: train, validation or test.

A set without such a division has one part, and its name is ``train``.
"""

import re
from collections.abc import Collection, Iterable

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "t10k": "test",
}
"""Spellings seen in the wild, and what they mean here."""


def meant(split: str) -> str:
    """The split that a word means, however it is spelt; another word as it is.

    >>> meant("Val"), meant("holdout")
    ('validation', 'holdout')
    """
    return SPLITS.get(split.lower(), split)


def named_split(name: str) -> str | None:
    """The split that a file's name speaks of; None if it mentions none.

    >>> named_split("train-00000-of-00002.parquet"), named_split("t10k-images-idx3-ubyte"), named_split("photos")
    ('train', 'test', None)
    """
    words = re.findall(r"[a-z0-9]+", name.lower())
    return next((SPLITS[word] for word in words if word in SPLITS), None)


def split_by_name(files: Iterable[str]) -> tuple[dict[str, str], frozenset[str]]:
    """The split of each file, that which its name speaks of, or its folder's, or train, in the order of splits and
    names; and the splits of the whole, none if it is a single file. Names are relative to the set.

    >>> split_by_name(["b-train.tar", "a-val.tar"])[0], split_by_name(["val/0.tar", "train/0.tar"])[0]
    ({'b-train.tar': 'train', 'a-val.tar': 'validation'}, {'train/0.tar': 'train', 'val/0.tar': 'validation'})
    """
    splits: dict[str, str] = {}
    for file in files:
        folder, _, name = file.rpartition("/")
        splits[file] = named_split(name) or SPLITS.get(folder.rpartition("/")[2].lower()) or "train"
    ordered = dict(sorted(splits.items(), key=lambda pair: (pair[1], pair[0])))
    return ordered, frozenset(splits.values()) if len(splits) > 1 else frozenset()


def choose_splits(available: Collection[str], split: str | None, *, where: str) -> frozenset[str]:
    """The splits to take out of ``available`` (empty: the set is not divided, and so is the answer).

    Raises:
        ValueError: the set has no such split.
    """
    if split is None:
        return frozenset(available)
    wanted = meant(split)
    if not available:
        if wanted != "train":
            raise ValueError(
                f"there is no split {split!r} in {where}, which is not divided; leave split at 'train'"
            )
        return frozenset()
    if wanted not in available:
        raise ValueError(f"there is no split {split!r} in {where}; it has {', '.join(sorted(available))}")
    return frozenset({wanted})
