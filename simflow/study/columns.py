"""The figures of a study: their keys, how they are called here and in the paper, and which way is better.

A run's record holds them under these keys; a row of a study holds the paper's printed numbers under the same keys, so
that the two stand side by side. They are the same *kinds* of figures and never the same figures: the paper's are of
ImageNet at 256 px by Inception's features, ours of whatever data and network the study was run with.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Column:
    """One figure of a run."""

    key: str
    """In records and claims."""
    title: str
    """Here."""
    better: Literal["lower", "higher"] | None = None
    """None where neither is."""
    digits: int = 2
    """Behind the point, in tables."""
    paper: str | None = None
    """What the paper calls its like; None if it prints nothing of the kind."""

    @property
    def heading(self) -> str:
        """The title with an arrow the better way."""
        return self.title + {"lower": " ↓", "higher": " ↑", None: ""}[self.better]


FIGURES = (
    Column(key="rfd", title="rFD", better="lower", paper="rFID"),
    Column(key="psnr", title="PSNR", better="higher", paper="PSNR"),
    Column(key="lpips", title="perceptual", better="lower", digits=4, paper="LPIPS"),
    Column(key="ssim", title="SSIM", better="higher", digits=3, paper="SSIM"),
    Column(key="fd", title="FD unguided", better="lower", paper="gFID w.o. CFG"),
    Column(key="fd_guided", title="FD guided", better="lower", paper="gFID w. CFG"),
    Column(key="accuracy", title="class accuracy unguided", better="higher", digits=3),
    Column(key="accuracy_guided", title="class accuracy guided", better="higher", digits=3),
    Column(key="diversity", title="diversity unguided", digits=3),
    Column(key="diversity_guided", title="diversity guided", digits=3),
    Column(key="bits", title="bits per dimension", better="lower", digits=3),
)
"""What is judged, in the order of the table."""

TRAINING = (
    Column(key="mse", title="MSE at the end", better="lower", digits=4),
    Column(key="prior", title="prior's loss at the end", digits=3),
    Column(key="above_floor", title="above its floor", digits=3),
    Column(key="collapsed", title="collapse warned", better="lower", digits=1, paper="collapse"),
    Column(key="skipped", title="skipped steps", better="lower", digits=1),
    Column(key="prior_parameters", title="prior's parameters", digits=0, paper="#Params"),
    Column(key="parameters", title="parameters", digits=0),
    Column(key="seconds", title="seconds of training", digits=0),
    Column(key="before", title="and of its autoencoder", digits=0),
    Column(key="images_per_second", title="images per second", digits=0),
)
"""How the training went, and what it cost."""


def column(key: str) -> Column:
    """The column of a key.

    >>> column("psnr").heading
    'PSNR ↑'
    """
    return next(each for each in (*FIGURES, *TRAINING) if each.key == key)
