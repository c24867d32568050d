"""The folder of a run, and what happens when a command finds one that is already there.

::

    runs/00000-name/
      config.json      the settings, written at the start
      log.txt          what was said, with times
      metrics.jsonl    one JSON object per line, every few steps
      samples/         pictures made on the way
      checkpoints/     step-0012345/ ..., see simflow.train.checkpoint
      codes/           of a frozen encoder, while a run with train.codes kept is not finished, see simflow.train.codes
      best/            a saved model: the average at the lowest held-out loss, if train.validation.best asks for it
      .lock            held while a process trains here

A new run takes the next number. A folder named by the user is used as it is: if it holds a checkpoint, the
run goes on from the latest one, and lines of metrics that the interrupted run wrote after that checkpoint are
cut, for those steps will be done again.
"""

import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simflow import alone
from simflow.distributed import from_main, is_main
from simflow.files import part_of, replacing, write_json
from simflow.train import checkpoint


@dataclass(frozen=True)
class RunFolder:
    """The paths of one run."""

    path: Path

    @property
    def config(self) -> Path:
        """The settings."""
        return self.path / "config.json"

    @property
    def log(self) -> Path:
        """What was said."""
        return self.path / "log.txt"

    @property
    def metrics(self) -> Path:
        """Losses over time."""
        return self.path / "metrics.jsonl"

    @property
    def samples(self) -> Path:
        """Pictures made on the way."""
        return self.path / "samples"

    @property
    def checkpoints(self) -> Path:
        """States to go on from."""
        return self.path / "checkpoints"

    @property
    def codes(self) -> Path:
        """What a frozen encoder makes of the images, where the run keeps it."""
        return self.path / "codes"

    @property
    def best(self) -> Path:
        """The model of the lowest held-out loss, where the run keeps it."""
        return self.path / "best"

    @property
    def newest(self) -> Path | None:
        """The newest whole checkpoint; None if there is none."""
        return checkpoint.latest(self.checkpoints)

    @property
    def lock(self) -> Path:
        """Held while a process trains here."""
        return self.path / alone.LOCK

    def belongs_to_something_else(self) -> bool:
        """Whether there is a folder with something in it, and it is no run's, not even of one that ended at once."""
        if not self.path.is_dir() or (self.config.is_file() and self.checkpoints.is_dir()):
            return False
        begun = (self.lock, self.samples, self.checkpoints, part_of(self.config))
        return any(path not in begun for path in self.path.iterdir())


def new_run(out_root: Path, name: str) -> RunFolder:
    """Makes ``out_root/NNNNN-name`` with the next free number; collective.

    Raises:
        ValueError: the name has other characters than letters, digits, dot, dash and underscore.
    """
    if not re.fullmatch(r"[\w.-]+", name):
        raise ValueError(f"a run's name may hold letters, digits, dots, dashes and underscores, not '{name}'")
    return RunFolder(from_main(lambda: _numbered(out_root, name)))


def open_or_resume(path: Path, config: dict[str, Any]) -> tuple[RunFolder, Path | None]:
    """Readies a run's folder, and finds the checkpoint to go on from; collective.

    Args:
        config: the settings as :func:`simflow.settings.to_dict` gives them; written to ``config.json``. Whether a run
            may go on with them is for the caller to say beforehand.

    Returns:
        the folder, and its latest checkpoint or None if there is nothing to resume.

    Raises:
        ValueError: the folder belongs to something else, or what is in it is damaged.
    """
    run = RunFolder(path)
    return run, from_main(lambda: _readied(run, config))


@contextmanager
def alone_in(run: RunFolder) -> Iterator[None]:
    """Keeps other trainings out of a run's folder for the block; collective.

    Raises:
        ValueError: another process is training there, or the folder belongs to something else.
    """
    from_main(lambda: _require_run(run))
    busy = f"another process is training in '{run.path}': wait for its end, or choose another folder"
    with alone.alone_in(run.path, busy):
        yield


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Appends what the logger ``simflow`` says (from INFO up) to a file for the block; rank 0 only.

    Warnings reach stderr as without the file: Python prints those of a logger that nobody handles, and the file handles
    this one.
    """
    if not is_main():
        yield
        return
    logger, handler = logging.getLogger("simflow"), logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    level, unheard = logger.level, None if logger.hasHandlers() else logging.lastResort
    handlers = [handler] if unheard is None else [handler, unheard]
    logger.setLevel(min(level, logging.INFO) if level else logging.INFO)
    for each in handlers:
        logger.addHandler(each)
    try:
        yield
    finally:
        for each in handlers:
            logger.removeHandler(each)
        logger.setLevel(level)
        handler.close()


def _numbered(out_root: Path, name: str) -> Path:
    out_root.mkdir(parents=True, exist_ok=True)
    taken = [int(match[0]) for path in out_root.iterdir() if (match := re.match(r"\d{5,}(?=-)", path.name))]
    number = max(taken, default=-1) + 1
    while True:
        made = out_root / f"{number:05d}-{name}"
        try:
            made.mkdir()
        except FileExistsError:  # of another process that was faster
            number += 1
        else:
            return made


def _require_run(run: RunFolder) -> None:
    """Refuses a folder that belongs to something else, as it is.

    Raises:
        ValueError: it does, or it is a file.
    """
    if run.path.exists() and not run.path.is_dir():
        raise ValueError(f"'{run.path}' is a file, not a run folder")
    if run.belongs_to_something_else():
        raise ValueError(f"'{run.path}' is not empty and not a run folder")


def _readied(run: RunFolder, config: dict[str, Any]) -> Path | None:
    _require_run(run)
    resumed = run.newest
    step = 0 if resumed is None else checkpoint.step_of(resumed)
    kept = _lines_until(run.metrics, step) if run.metrics.exists() else None
    for folder in (run.samples, run.checkpoints):
        folder.mkdir(parents=True, exist_ok=True)
    write_json(run.config, config)
    if kept is not None:
        with replacing(run.metrics) as part:
            part.write_text(kept, encoding="utf-8")
    return resumed


def _lines_until(metrics: Path, step: int) -> str:
    """The lines up to a step; a half-written last line is dropped.

    Raises:
        Damaged: a whole line is no line of metrics.
    """
    kept = []
    *lines, _ = metrics.read_text(encoding="utf-8", errors="replace").split("\n")
    for number, line in enumerate(lines, start=1):
        try:
            over = json.loads(line)["step"] > step
        except (ValueError, KeyError, TypeError) as error:
            raise checkpoint.Damaged(
                f"line {number} of '{metrics}' is damaged: delete it, or the file, to go on"
            ) from error
        if over:
            break
        kept.append(f"{line}\n")
    return "".join(kept)
