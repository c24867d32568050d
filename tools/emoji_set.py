"""Divides a tar of emoji, ``<class>/<font>_<base code>_<code>.webp``, into training, validation and test.

    python tools/emoji_set.py emoji64.tar data/emoji.zip

All drawings of one base code, in every font and skin tone, fall into the same part: 90, 5 and 5 of a hundred by a hash
of the code, so that nothing of a held-out emoji was seen. The archive is deterministic. The recipes of emoji count the
skin tones of one drawing as one image.

Where ``subcategories.json`` lies beside the images (an object of paths and subcategories), each part has a
``metadata.csv`` besides, whose column ``subcategory`` has finer classes, ``animals-nature/animal-bird``.
"""

import argparse
import csv
import hashlib
import io
import json
import tarfile
import zipfile
from collections import Counter, defaultdict
from pathlib import Path, PurePosixPath
from typing import Literal

FIRST_DAY = (1980, 1, 1, 0, 0, 0)
"""The date of every entry, the earliest a zip can hold."""


Part = Literal["train", "validation", "test"]


def part(base: str) -> Part:
    """``train``, ``validation`` or ``test``.

    >>> [part(code) for code in ("1f600", "1f44b", "1f436")]
    ['train', 'train', 'train']
    """
    place = int.from_bytes(hashlib.blake2b(base.encode(), digest_size=8).digest()) % 100
    return "train" if place < 90 else "validation" if place < 95 else "test"


def finer(category: str, subcategory: str) -> str:
    """The class of a subcategory.

    >>> finer("objects", "light & video")
    'objects/light-video'
    """
    return f"{category}/{subcategory.replace(' & ', '-').replace(' ', '-')}"


def table(rows: list[tuple[str, str]]) -> str:
    """The ``metadata.csv`` of a part: a file's name below it and its subcategory in each row."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([("file_name", "subcategory"), *rows])
    return text.getvalue()


def main() -> None:
    """Reads the words of the command line and writes the archive."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    words = parser.parse_args()
    counts: Counter[Part] = Counter()
    said: dict[Part, list[tuple[str, str]]] = defaultdict(list)
    with tarfile.open(words.source) as source, zipfile.ZipFile(words.out, "w", zipfile.ZIP_STORED) as out:
        subcategories: dict[str, str] = {}
        for member in (one for one in source if PurePosixPath(one.name).name == "subcategories.json"):
            content = source.extractfile(member)
            assert content is not None
            subcategories = json.load(content)
        for member in sorted((one for one in source if one.name.endswith(".webp")), key=lambda one: one.name):
            path = PurePosixPath(member.name)
            _, base, _ = path.stem.split("_")
            content = source.extractfile(member)
            assert content is not None
            own, category = part(base), path.parent.name
            counts[own] += 1
            out.writestr(zipfile.ZipInfo(f"{own}/{category}/{path.name}", FIRST_DAY), content.read())
            if member.name in subcategories:
                said[own].append((f"{category}/{path.name}", finer(category, subcategories[member.name])))
        for own, rows in said.items():
            out.writestr(zipfile.ZipInfo(f"{own}/metadata.csv", FIRST_DAY), table(rows))
    print(", ".join(f"{count} {name}" for name, count in counts.items()))


if __name__ == "__main__":
    main()
