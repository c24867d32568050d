"""Where a study keeps what::

    studies/table4/
      study.yaml                     what all runs were given alike
      runs/std-0.5/seed-0/           an ordinary run folder: simflow sample, evaluate, analyze take it
      figures/std-0.5-seed-0.json    its figures, or why there are none
      pictures/std-0.5-seed-0.npz    its images on the contact sheet
      samples/                       while a run is judged, or for good with --keep-samples
      reference.json                 what the judges say of real images
      locks/                         who is at what
      table.md  table.json  plot.svg  sheet.png

A lock (:mod:`filelock`) is held by the process that works at a run and is free again when that process ends, however it
ends. Its file stays: it means nothing by itself.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from simflow.evaluate.figures import finite
from simflow.files import read_json, write_json


@dataclass(frozen=True)
class StudyFolder:
    """The paths of one study; a run is named by its row (or the autoencoder before one) and its seed."""

    path: Path

    def run(self, name: str, seed: int) -> Path:
        """The run folder."""
        return self.path / "runs" / name / f"seed-{seed}"

    def figures(self, name: str, seed: int) -> Path:
        """The record of a run's figures."""
        return self.path / "figures" / f"{name}-seed-{seed}.json"

    def pictures(self, name: str, seed: int) -> Path:
        """The images for the contact sheet."""
        return self.path / "pictures" / f"{name}-seed-{seed}.npz"

    def samples(self, name: str, seed: int) -> Path:
        """The folder of its samples."""
        return self.path / "samples" / f"{name}-seed-{seed}"

    def lock(self, name: str) -> FileLock:
        """The lock of that name, not taken."""
        (self.path / "locks").mkdir(parents=True, exist_ok=True)
        return FileLock(self.path / "locks" / f"{name}.lock")

    @property
    def reference(self) -> Path:
        """What real images score."""
        return self.path / "reference.json"

    def records(self, names: list[str]) -> dict[str, dict[int, dict[str, Any]]]:
        """All records there are of these rows, by seed; rows without any have none."""
        found: dict[str, dict[int, dict[str, Any]]] = {}
        for name in names:
            own = {}
            for file in sorted((self.path / "figures").glob(f"{name}-seed-*.json")):
                seed = file.stem.removeprefix(f"{name}-seed-")
                if seed.isdigit():
                    own[int(seed)] = read_json(file)
            found[name] = dict(sorted(own.items()))
        return found


def write(file: Path, record: dict[str, Any]) -> None:
    """Writes a JSON object whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, finite(record))


def take(lock: FileLock) -> bool:
    """Takes a lock if it is free, and says whether it was."""
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    return True
