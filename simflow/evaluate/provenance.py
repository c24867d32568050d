"""Which program made a result, where and when: part of every JSON that evaluation writes."""

import platform
from datetime import UTC, datetime
from typing import Any

import torch

from simflow import distributed
from simflow.origin import git_revision, version

ROUNDING = "clamp to [-1, 1], (x + 1) * 127.5, round half to even, uint8"
"""What :func:`simflow.pixels.to_uint8` does; the samples of a run go through it."""

PACKAGES = ("torch", "numpy", "pillow")


def made_by(device: torch.device | str) -> dict[str, Any]:
    """Versions, git revision, date (UTC), device and number of processes."""
    return {
        "simflow": version(),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
        "revision": git_revision(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": str(device),
        "processes": distributed.world(),
        "threads": torch.get_num_threads(),
    }
