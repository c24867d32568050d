"""Where a result comes from: which weights of which run, when, and with which software."""

import platform
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import torch

from simflow.origin import git_revision, version


@dataclass(frozen=True, kw_only=True)
class Software:
    """What is needed, besides settings and seeds, to get the same figures again."""

    simflow: str | None
    """None if it is not installed; earlier versions said so in words."""
    torch: str
    python: str
    git: str | None
    """Revision of the source, if it is a git checkout."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Of one analysis."""

    run: str
    """Name of the run: its folder's, or ``owner/name`` on the hub."""
    weights: str
    """``ema`` or ``model``."""
    step: int | None
    """Training step of the weights; None for a saved model, which does not say."""
    data: str
    """What the images were."""
    date: str
    """ISO 8601, to the second."""
    software: Software


def software() -> Software:
    """That of this process."""
    return Software(
        simflow=version(),
        torch=torch.__version__,
        python=platform.python_version(),
        git=git_revision(),
    )


def now() -> str:
    """The local time in ISO 8601, to the second."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


def names_of(places: list[str]) -> list[str]:
    """Short names for runs: the last part of the path; if two agree, with the part before, or a number.

    >>> names_of(["runs/demo", "old/demo", "runs/long"])
    ['runs/demo', 'old/demo', 'long']
    >>> names_of(["a/demo", "a/demo/"])
    ['a/demo', 'a/demo (2)']
    """
    paths = [Path(place) if "/" not in place else Path(place.rstrip("/")) for place in places]
    last = [path.resolve().name if path.name in ("", ".", "..") else path.name for path in paths]
    names = [
        "/".join(path.parts[-2:]) if last.count(name) > 1 else name
        for path, name in zip(paths, last, strict=True)
    ]
    return [
        name if names[:index].count(name) == 0 else f"{name} ({names[:index].count(name) + 1})"
        for index, name in enumerate(names)
    ]
