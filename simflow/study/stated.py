"""How the paper's orders are written down: chains and bests, and what the recipes know of a scale."""

from collections.abc import Sequence
from itertools import pairwise

from simflow.recipes import tables
from simflow.study.study import Claim, Scale

IMAGENET = "SimFlow paper, ImageNet 256 px"


def of(scale: Scale) -> tables.Scale:
    """What the recipes know of a scale."""
    return tables.small() if scale == "small" else tables.paper()


def chain(names: Sequence[str], figures: Sequence[str], source: str) -> list[Claim]:
    """Each name is better than the next, by each figure.

    >>> [(claim.better, claim.worse) for claim in chain(["a", "b", "c"], ["psnr"], "Table 0")]
    [('a', 'b'), ('b', 'c')]
    """
    return [
        Claim(better=better, worse=worse, figure=figure, source=source)
        for figure in figures
        for better, worse in pairwise(names)
    ]


def best(name: str, others: Sequence[str], figures: Sequence[str], source: str) -> list[Claim]:
    """One is better than each of the others, by each figure."""
    return [
        Claim(better=name, worse=other, figure=figure, source=source)
        for figure in figures
        for other in others
    ]
