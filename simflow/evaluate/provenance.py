"""Which program made a result, where and when: part of every JSON that evaluation writes."""

import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from simflow import distributed

ROUNDING = "clamp to [-1, 1], (x + 1) * 127.5, round half to even, uint8"
"""What :func:`simflow.pixels.to_uint8` does; the samples of a run go through it."""

PACKAGES = ("torch", "numpy", "pillow")


def made_by(device: torch.device | str) -> dict[str, Any]:
    """Versions, git revision, date (UTC), device and number of processes."""
    return {
        "simflow": _version("simflow"),
        "python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES},
        "revision": git_revision(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": str(device),
        "processes": distributed.world(),
        "threads": torch.get_num_threads(),
    }


def git_revision() -> str | None:
    """The commit of the checkout that this file lies in, ``+`` appended if files differ; None outside one."""
    folder = Path(__file__).resolve().parent
    if not any((parent / ".git").exists() for parent in folder.parents):
        return None
    try:
        revision = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", ".")
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{revision}+" if changed else revision


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
