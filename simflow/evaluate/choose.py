"""From words to extractors: ``efficientnet-lite0,inception=FILE,dinov2=PATH``.

What is not at hand (weights on no package index, packages that are not installed) is said in one sentence each and left
out; another network never stands in for it. A file that was named and is not there is a mistake, and refused.
"""

from pathlib import Path
from typing import NamedTuple

from simflow.evaluate.dino import DINOv2
from simflow.evaluate.efficientnet import EfficientNetLite0
from simflow.evaluate.extractors import Extractor, Missing
from simflow.evaluate.inception import Inception

NAMES = ("efficientnet-lite0", "inception", "dinov2")


class Chosen(NamedTuple):
    """The extractors at hand, and a sentence for each that is not."""

    extractors: list[Extractor]
    left_out: list[str]


def parse(text: str) -> dict[str, str | None]:
    """Names and where their weights are, None where it is not said; an empty text or ``none`` asks for none.

    >>> parse("efficientnet-lite0,inception=weights.pth")
    {'efficientnet-lite0': None, 'inception': 'weights.pth'}

    Raises:
        ValueError: there is no such extractor, or one is named twice.
    """
    asked: dict[str, str | None] = {}
    for word in text.split(",") if text not in ("", "none") else []:
        name, _, place = word.strip().partition("=")
        if name not in NAMES:
            raise ValueError(f"there is no extractor '{name}'; there are {', '.join(NAMES)}")
        if name in asked:
            raise ValueError(f"the extractor '{name}' is named twice")
        asked[name] = place or None
    return asked


def choose(text: str) -> Chosen:
    """The extractors that the text asks for, on the CPU.

    Raises:
        ValueError: as :func:`parse`; or a file that was named is missing or holds other weights.
    """
    found, left_out = [], []
    for name, place in parse(text).items():
        try:
            found.append(_make(name, place))
        except Missing as error:
            left_out.append(str(error))
    return Chosen(found, left_out)


def _make(name: str, place: str | None) -> Extractor:
    file = None if place is None else Path(place)
    if name == "inception":
        return Inception.from_file(file)
    if name == "efficientnet-lite0":
        return EfficientNetLite0.from_file(file)
    return DINOv2.from_pretrained(place)
