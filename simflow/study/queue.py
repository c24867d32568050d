"""What is left to do of a study, and who is at it.

A run is *taken* while a process holds its lock, and *done* when its figures are there and its weights are those that
were judged. A run that starts from an autoencoder has that trained first, by whoever comes first. A failed run is done
for the calls that were there when it failed, and tried again by later ones.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock

from simflow.config import RunConfig
from simflow.distributed import from_main
from simflow.evaluate.extractors import sha256_of_file
from simflow.files import read_json
from simflow.study import layout
from simflow.study.budget import Budget
from simflow.study.layout import StudyFolder
from simflow.study.study import Before, Row
from simflow.study.training import is_trained
from simflow.train.runs import RunFolder


@dataclass(frozen=True, kw_only=True)
class Job:
    """A run to be worked at: a row's, or the autoencoder's before one."""

    run: Row | Before
    seed: int

    @property
    def name(self) -> str:
        """What messages and locks call it."""
        return f"{self.run.name}-seed-{self.seed}"


@dataclass(frozen=True, kw_only=True)
class Queue:
    """The runs of one call, in the order in which they are looked at."""

    folder: StudyFolder
    budget: Budget
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]
    began: float = field(default_factory=time.time)
    tried: list[Job] = field(default_factory=list)
    """What this process was at."""
    digests: dict[tuple[Path, int], str] = field(default_factory=dict)
    """Of files of weights, by path and time: large ones are not read again and again."""

    def jobs(self) -> list[Job]:
        """All runs of this call, seed by seed."""
        return [Job(run=row, seed=seed) for seed in self.seeds for row in self.rows]

    def next(self) -> tuple[Job | None, FileLock | None, bool]:
        """A run with its lock, taken; or none, and whether it is worth waiting for one. For rank 0."""
        waiting = False
        for job in self.jobs():
            if self.is_done(job):
                continue
            before = self.before(job)
            target = before if before is not None and self.needs(before) else job
            lock = self.folder.lock(target.name)
            if not layout.take(lock):
                waiting |= target is before
                continue
            if self.is_done(job) or (target is before and not self.needs(target)):
                lock.release()  # the other process was done with it between our two looks
                return self.next()
            return target, lock, False
        return None, None, waiting

    def before(self, job: Job) -> Job | None:
        """The autoencoder that a run starts from, as a run."""
        after = job.run.after if isinstance(job.run, Row) else None
        return None if after is None else Job(run=after, seed=job.seed)

    def needs(self, before: Job) -> bool:
        """Whether an autoencoder must still be trained; one that has failed in this call is not tried again."""
        return not self.is_trained(before) and self.failure(before) is None

    def is_trained(self, job: Job) -> bool:
        """Whether the run has all its steps."""
        return is_trained(self.folder.run(job.run.name, job.seed), self.config(job))

    def failure(self, job: Job) -> str | None:
        """Why a run failed since this call began, in this process or another."""
        file = self.folder.figures(job.run.name, job.seed)
        record = read_json(file) if file.is_file() else {}
        recent = job in self.tried or record.get("at", 0.0) >= self.began
        return record.get("failed") if recent else None

    def is_done(self, job: Job) -> bool:
        """Whether the run's figures are there and are of its weights, or it has failed in this call."""
        file = self.folder.figures(job.run.name, job.seed)
        if not file.is_file():
            return False
        record = read_json(file)
        if record.get("failed") is not None:
            return self.failure(job) is not None
        return record["weights"] == self.weights(job, record["weights"])

    def weights(self, job: Job, default: str) -> str:
        """The SHA-256 of the run's newest averaged weights; ``default`` where the run is no longer there."""
        newest = RunFolder(self.folder.run(job.run.name, job.seed)).newest
        if newest is None:
            return default
        file = newest / "ema.safetensors"
        key = file, file.stat().st_mtime_ns
        if key not in self.digests:
            self.digests[key] = sha256_of_file(file)
        return self.digests[key]

    def config(self, job: Job) -> RunConfig:
        """The configuration of a run."""
        before = self.before(job)
        place = None if before is None else self.folder.run(before.run.name, before.seed).resolve()
        return self.budget.configure(job.run, seed=job.seed, start_from=place)


@contextmanager
def taking(queue: Queue) -> Iterator[Callable[[], tuple[Job | None, bool]]]:
    """Lends a function that gives back the last run's lock and takes the next; the last lock is given back anyway."""
    held: list[FileLock] = []

    def give_back() -> None:
        while held:
            held.pop().release()

    def choose() -> tuple[Job | None, bool]:
        give_back()
        job, lock, waiting = queue.next()
        if lock is not None:
            held.append(lock)
        return job, waiting

    try:
        yield lambda: from_main(choose)
    finally:
        give_back()
