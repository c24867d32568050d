"""The record of an analysis: what was found out about one trained model, and the folder that keeps it.

::

    analysis.json     the figures, and where they come from
    pictures.npz      the images, as plain arrays with their captions (simflow.analysis.picture)
    <picture>.png     a contact sheet of each
    <chart>.png       the plots, if matplotlib is installed (simflow.report.plot)

Both JSON and pictures are read again by the report. This file does not know how the figures are made; that is
:mod:`simflow.analysis.analyze`.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from simflow import settings
from simflow.analysis.gaussianity import Gaussianity
from simflow.analysis.latent_space import LatentSpace
from simflow.analysis.origin import Origin
from simflow.analysis.picture import Picture, load_pictures, save_pictures
from simflow.analysis.robustness import LEVELS, Robustness
from simflow.analysis.sweep import WEIGHTS, Sweep
from simflow.evaluate.called import name_of_unseen
from simflow.files import replacing, write_json
from simflow.sample import SampleConfig

FILE, PICTURES = "analysis.json", "pictures.npz"
"""The files that are read again."""

FORMAT = 3
"""Number of the record below; it grows when old readers could not read new files."""

READABLE = (2, FORMAT)
"""Numbers that are read: what is new since then has a default."""


NONE_HELD_OUT = (
    "There are no held-out images: what is said of unseen images is said of those that the sweep's classifier, "
    "and probably the model, has seen."
)
"""Stands among what is left out of an analysis whose unseen images are the training images."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is to be done."""

    images: int = 500
    """Held-out images, evenly spread over the set."""
    shown: int = 8
    """Images in a row of reconstructions, and rows of interpolations."""
    seed: int = 0
    """Of the noise on latents."""
    levels: tuple[float, ...] = LEVELS
    """Noise on latents, in standard deviations of the latents."""
    steps: int = 8
    """Points of an interpolation."""
    weights: tuple[float, ...] = WEIGHTS
    """Guidance weights."""
    samples: int = 200
    """Samples at each weight; their seeds are 0, 1, ..."""
    gammas: tuple[float, ...] | None = None
    """Sizes of the guided score step (Eq. 6), of a further sweep each; None is the run's own, 0 is none (of
    its own where the run refines otherwise)."""

    def __post_init__(self) -> None:
        if self.images < 2:
            raise ValueError(f"an analysis needs at least 2 images, not {self.images}")
        if self.shown < 1 or self.samples < 1:
            raise ValueError("the numbers of images shown and of samples must be at least 1")
        if not self.levels or len({f"{level:g}" for level in self.levels}) < len(self.levels):
            raise ValueError("levels of noise on latents must be given, each of them once")
        if not self.weights or len({f"{weight:g}" for weight in self.weights}) < len(self.weights):
            raise ValueError("a guidance sweep needs weights, each of them once")
        gammas = self.gammas or ()
        if len({f"{gamma:g}" for gamma in gammas}) < len(gammas) or not all(
            0 <= gamma < math.inf for gamma in gammas
        ):
            raise ValueError("the sizes of the guided score step must be 0 or more, each of them once")


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """The figures of one model; None where ``left_out`` says why."""

    format: int = FORMAT
    origin: Origin
    plan: Plan
    images: int
    """Held-out images used."""
    latents: LatentSpace | None
    robustness: Robustness | None
    noise: Gaussianity | None
    sweeps: tuple[Sweep, ...]
    """Over guidance: without the guided score step, then with each size of it."""
    sampling: SampleConfig | None = None
    """How samples were drawn, but for what a sweep changes; None in older files."""
    left_out: tuple[str, ...]
    """What is not there and why, a sentence each."""


def unseen_in(analysis: Analysis) -> str:
    """What to call the images that were encoded."""
    return name_of_unseen(held_out=NONE_HELD_OUT not in analysis.left_out)


def save(folder: Path, analysis: Analysis, pictures: Mapping[str, Picture]) -> None:
    """Writes the JSON, the archive and the contact sheets into a folder, made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in pictures.items():
        with replacing(folder / f"{name}.png") as part:
            picture.sheet().save(part, format="PNG")
    save_pictures(folder / PICTURES, pictures)
    write_json(folder / FILE, settings.to_dict(analysis))


def load(folder: Path) -> tuple[Analysis, dict[str, Picture]]:
    """What :func:`save` wrote.

    Raises:
        ValueError: it is not there, damaged, or of another version.
    """
    file = folder / FILE
    if not (file.is_file() and (folder / PICTURES).is_file()):
        raise ValueError(f"there is no analysis in '{folder}'")
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(record, dict) or record.get("format") not in READABLE:
            raise ValueError(f"the format is not {FORMAT}")
        analysis = settings.from_dict(Analysis, record)
    except ValueError as error:
        raise ValueError(
            f"'{file}' is damaged or of another version of simflow ({error}): run simflow analyze again"
        ) from error
    return analysis, load_pictures(folder / PICTURES)
