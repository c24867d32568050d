"""The work of a study: run after run is trained, judged and put into the table, by as many processes as are started.

Every process that is given the same folder takes the first run that is neither done nor taken, works at it and looks
again. A run is *taken* while a process holds its lock, and *done* when its figures are there and its weights are those
that were judged. So a study that was stopped goes on where it was, several processes share it, and array jobs need no
plan. A run that starts from an autoencoder has that trained first, by whoever comes first; who then finds nothing else
to do waits for it.

A run that fails is recorded with the reason, and the others go on. The next call tries it again.

Under torchrun all processes of the group work at the same run: rank 0 chooses.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from simflow.config import RunConfig
from simflow.data.held_out import held_out
from simflow.data.images import ImageSet, load
from simflow.distributed import barrier, is_main
from simflow.evaluate.collect import from_main
from simflow.evaluate.desk import Desk
from simflow.evaluate.extractors import sha256_of_file
from simflow.evaluate.generation import LEAST
from simflow.evaluate.provenance import made_by
from simflow.fitting import fit
from simflow.objective import Objective
from simflow.pipeline import Pipeline
from simflow.study import layout
from simflow.study.bench import Bench, prepare
from simflow.study.budget import Budget, hold_to
from simflow.study.judge import judged, write_pictures
from simflow.study.layout import StudyFolder
from simflow.study.report import write_all, write_table
from simflow.study.study import Before, Row, Study
from simflow.study.training import is_trained, seconds_of, told
from simflow.train import checkpoint
from simflow.train.callbacks import Callback
from simflow.train.runs import RunFolder

logger = logging.getLogger("simflow")

PATIENCE = 2.0
"""Seconds between looks, where all that is left waits for an autoencoder that another process trains."""

Listeners = Callable[[RunFolder, Objective, RunConfig], Sequence[Callback]]


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
class Outcome:
    """What one process's call came to."""

    stopped: bool = False
    """A signal stopped a training, which was saved; the same call goes on."""
    failed: dict[str, str] = field(default_factory=dict)
    """Runs of this call without figures, by name, and why."""
    left: int = 0
    """Runs that other processes are at."""


@dataclass(frozen=True, kw_only=True)
class Worker:
    """One process's share in a study."""

    study: Study
    folder: StudyFolder
    budget: Budget
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]
    """Of this call."""
    desk: Desk
    listeners: Listeners
    keep_samples: bool
    images: ImageSet
    began: float = field(default_factory=time.time)
    benches: list[Bench] = field(default_factory=list)
    """The judges, once they are needed."""
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
        record = layout.read(file) if file.is_file() else {}
        recent = job in self.tried or record.get("at", 0.0) >= self.began
        return record.get("failed") if recent else None

    def is_done(self, job: Job) -> bool:
        """Whether the run's figures are there and are of its weights, or it has failed in this call."""
        file = self.folder.figures(job.run.name, job.seed)
        if not file.is_file():
            return False
        record = layout.read(file)
        if record.get("failed") is not None:
            return self.failure(job) is not None
        return record["weights"] == self.weights(job, record["weights"])

    def weights(self, job: Job, default: str) -> str:
        """The SHA-256 of the run's newest averaged weights; ``default`` where the run is no longer there."""
        newest = checkpoint.latest(RunFolder(self.folder.run(job.run.name, job.seed)).checkpoints)
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

    def bench(self) -> Bench:
        """The judges, made at the first call."""
        if not self.benches:
            held, called = held_out(self.config(self.jobs()[0]).data)
            self.benches.append(prepare(self.images, held, called, self.budget, self.desk))
            if is_main():
                layout.write(self.folder.reference, self.benches[0].record)
            barrier()
        return self.benches[0]

    def do(self, job: Job) -> bool:
        """Trains and judges a run; collective. False if a signal stopped it."""
        logger.info("%s: %s, seed %d", self.study.name, job.run.name, job.seed)
        self.tried.append(job)
        place = self.folder.run(job.run.name, job.seed)
        try:
            before = self.before(job)
            if before is not None and not self.is_trained(before):
                raise ValueError(f"the autoencoder that it starts from failed: {self.failure(before)}")
            config = self.config(job)
            if not is_trained(place, config):
                fitted = fit(
                    config,
                    place,
                    images=self.images,
                    device=self.desk.device,
                    listeners=lambda run, objective: self.listeners(run, objective, config),
                )
                if not fitted.finished:
                    return False
            if isinstance(job.run, Row):
                self.judge(job, job.run, place)
        except (ValueError, RuntimeError) as error:  # one row's trouble is not the others'
            said = str(error).splitlines()[0] if str(error) else type(error).__name__
            logger.warning("%s failed: %s", job.name, said)
            self.keep(job, {"failed": said})
        return True

    def judge(self, job: Job, row: Row, place: Path) -> None:
        """Takes the figures of a trained run and keeps them.

        Raises:
            ValueError: it has none to take.
        """
        pipe = Pipeline.from_pretrained(place).to(self.desk.device)
        before = self.before(job)
        earlier = 0.0 if before is None else seconds_of(self.folder.run(before.run.name, before.seed))
        training = told(place, pipe.config, pipe.model) | {"before": earlier}
        if training["diverged"]:
            said = "the training diverged: the loss at its end is no number"
            self.keep(job, {"failed": said, "figures": training})
            return
        weights = self.weights(job, "")
        figures, shown = judged(
            pipe,
            weights,
            self.bench(),
            self.budget,
            self.desk,
            samples=self.folder.samples(row.name, job.seed),
            keep=self.keep_samples,
        )
        if is_main():
            write_pictures(self.folder.pictures(row.name, job.seed), shown)
        self.keep(job, {"weights": weights, "figures": figures | training})

    def keep(self, job: Job, record: dict[str, Any]) -> None:
        """Writes a run's record, on rank 0."""
        if is_main():
            whole = {"failed": None, "name": job.run.name, "recipe": job.run.recipe, "seed": job.seed}
            made = {"at": time.time(), "made_by": made_by(self.desk.device)}
            layout.write(self.folder.figures(job.run.name, job.seed), whole | record | made)
        barrier()


def work(
    study: Study,
    budget: Budget,
    out: Path,
    *,
    seeds: Sequence[int],
    rows: Sequence[str],
    desk: Desk,
    listeners: Listeners = lambda run, objective, config: (),
    keep_samples: bool = False,
) -> Outcome:
    """Does what is left to do of a study, and writes its table after each run; collective under torchrun.

    Args:
        study: which.
        budget: of each run.
        out: the study's folder.
        seeds: of this call.
        rows: names of the rows of this call; all if empty.
        desk: the device, and how judging is shown.
        listeners: makes the callbacks of a training.
        keep_samples: leave the samples that were judged in the folder.

    Raises:
        ValueError: no such row or images, settings that do not fit, or a folder of another budget.
    """
    chosen = tuple(study.row(name) for name in rows) or study.rows
    folder = StudyFolder(out)
    for row in chosen:  # what does not fit is said before anything is trained
        configured = [budget.configure(run, seed=0) for run in (row, row.after) if run is not None]
    images = load(configured[0].data)
    check_counts(budget, images)
    from_main(partial(begin, folder, budget))
    worker = Worker(
        study=study,
        folder=folder,
        budget=budget,
        seeds=tuple(seeds),
        rows=chosen,
        desk=desk,
        listeners=listeners,
        keep_samples=keep_samples,
        images=images,
    )
    with taking(worker) as take:
        while True:
            job, waiting = take()
            if job is None and not waiting:
                break
            if job is None:
                time.sleep(PATIENCE)
                continue
            if not worker.do(job):
                return Outcome(stopped=True)
            if is_main() and isinstance(job.run, Row):
                write_table(study, folder, budget)
            barrier()
    return from_main(partial(outcome, worker))


def check_counts(budget: Budget, images: ImageSet) -> None:
    """Refuses numbers of images that no figure could be taken from, before anything is trained.

    Raises:
        ValueError: too few samples or images.
    """
    classes = max(len(images.class_names), 1)
    if budget.num <= classes:
        raise ValueError(
            f"diversities are taken between samples of a class: --num must be more than {classes}, not {budget.num}"
        )
    if budget.extractor in ("", "none"):
        return
    for name, count in (("num", budget.num), ("held_out", budget.held_out), ("reference_num", len(images))):
        if min(count, getattr(budget, name)) < LEAST:
            flag = name.replace("_", "-")
            raise ValueError(f"a Fréchet distance takes at least {LEAST} images: give a larger --{flag}")


@contextmanager
def taking(worker: Worker) -> Iterator[Callable[[], tuple[Job | None, bool]]]:
    """Lends a function that gives back the last run's lock and takes the next; the last lock is given back anyway."""
    held: list[FileLock] = []

    def give_back() -> None:
        while held:
            held.pop().release()

    def choose() -> tuple[Job | None, bool]:
        give_back()
        job, lock, waiting = worker.next()
        if lock is not None:
            held.append(lock)
        return job, waiting

    try:
        yield lambda: from_main(choose)
    finally:
        give_back()


def begin(folder: StudyFolder, budget: Budget) -> None:
    """Readies the folder.

    Raises:
        ValueError: it was begun with another budget.
    """
    with folder.lock("study"):
        hold_to(folder.path, budget)


def outcome(worker: Worker) -> Outcome:
    """What became of this call's runs; writes the table and the pictures."""
    write_all(worker.study, worker.folder, worker.budget)
    failures = {job.name: worker.failure(job) for job in worker.jobs()}
    return Outcome(
        failed={name: said for name, said in failures.items() if said is not None},
        left=sum(not worker.is_done(job) for job in worker.jobs()),
    )


def desk_for(device: torch.device, counting: Callable[[str, int], Any]) -> Desk:
    """The desk of a study: no bootstrap, for its spread is that of seeds."""
    return Desk(device=device, counting=counting, resamples=0)
