"""The work of a study: run after run is trained, judged and put into the table, by as many processes as are started.

Every process that is given the same folder takes the first run that is neither done nor taken
(:mod:`simflow.study.queue`), works at it and looks again. So a study that was stopped goes on where it was, several
processes share it, and array jobs need no plan. Who finds nothing to do but runs whose autoencoder another process
trains, waits. A run that fails is recorded with the reason, and the others go on.

Under torchrun all processes of the group work at the same run: rank 0 chooses.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from simflow.config import RunConfig
from simflow.data.held_out import held_out
from simflow.data.images import ImageSet, load
from simflow.distributed import barrier, from_main, is_main, world
from simflow.evaluate.choose import choose
from simflow.evaluate.desk import Desk
from simflow.evaluate.generation import LEAST
from simflow.evaluate.provenance import made_by
from simflow.fitting import fit
from simflow.objective import Objective
from simflow.pipeline import Pipeline
from simflow.reasons import reason
from simflow.study import layout
from simflow.study.bench import Bench, prepare
from simflow.study.budget import Budget, hold_to
from simflow.study.judge import judged, write_pictures
from simflow.study.layout import StudyFolder
from simflow.study.queue import Job, Queue, taking
from simflow.study.report import write_all, write_table
from simflow.study.study import Row, Study
from simflow.study.training import is_trained, seconds_of, told
from simflow.train.callbacks import Callback
from simflow.train.runs import RunFolder

logger = logging.getLogger("simflow")

PATIENCE = 2.0
"""Seconds between looks, where all that is left waits for an autoencoder that another process trains."""

Listeners = Callable[[RunFolder, Objective, RunConfig], Sequence[Callback]]


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
    queue: Queue
    desk: Desk
    listeners: Listeners
    keep_samples: bool
    images: ImageSet
    unseen: tuple[ImageSet, str]
    """The held-out images, and what to call them."""
    benches: list[Bench] = field(default_factory=list)
    """The judges, once they are needed."""

    def bench(self) -> Bench:
        """The judges, made at the first call."""
        if not self.benches:
            self.benches.append(prepare(self.images, *self.unseen, self.queue.budget, self.desk))
            if is_main():
                with self.queue.folder.lock("table"):  # others may be as far at this moment
                    layout.write(self.queue.folder.reference, self.benches[0].record)
            barrier()
        return self.benches[0]

    def do(self, job: Job) -> bool:
        """Trains and judges a run; collective. False if a signal stopped it."""
        logger.info("%s: %s, seed %d", self.study.name, job.run.name, job.seed)
        self.queue.tried.append(job)
        place = self.queue.folder.run(job.run.name, job.seed)
        try:
            before = self.queue.before(job)
            if before is not None and not self.queue.is_trained(before):
                raise ValueError(f"the autoencoder that it starts from failed: {self.queue.failure(before)}")
            config = self.queue.config(job)
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
            if isinstance(error, RuntimeError) and world() > 1:
                raise  # it may be of this process alone, and the others would wait for it
            logger.warning("%s failed: %s", job.name, reason(error))
            self.keep(job, {"failed": reason(error)})
        return True

    def judge(self, job: Job, row: Row, place: Path) -> None:
        """Takes the figures of a trained run and keeps them.

        Raises:
            ValueError: it has none to take.
        """
        pipe = Pipeline.from_pretrained(place).to(self.desk.device)
        before = self.queue.before(job)
        earlier = 0.0 if before is None else seconds_of(self.queue.folder.run(before.run.name, before.seed))
        training = told(place, pipe.config, pipe.model) | {"before": earlier}
        if training["diverged"]:
            said = "the training diverged: the loss at its end is no number"
            self.keep(job, {"failed": said, "figures": training})
            return
        weights = self.queue.weights(job, "")
        figures, shown = judged(
            pipe,
            weights,
            self.bench(),
            self.queue.budget,
            self.desk,
            samples=self.queue.folder.samples(row.name, job.seed),
            keep=self.keep_samples,
        )
        if is_main():
            write_pictures(self.queue.folder.pictures(row.name, job.seed), shown)
        self.keep(job, {"weights": weights, "figures": figures | training})

    def keep(self, job: Job, record: dict[str, Any]) -> None:
        """Writes a run's record, on rank 0."""
        if is_main():
            whole = {"failed": None, "name": job.run.name, "recipe": job.run.recipe, "seed": job.seed}
            made = {"at": time.time(), "made_by": made_by(self.desk.device)}
            layout.write(self.queue.folder.figures(job.run.name, job.seed), whole | record | made)
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
    images, unseen = load(configured[0].data), held_out(configured[0].data)
    check_counts(budget, images, unseen[0])
    choose(budget.extractor)  # a file of weights that is not there would cost every training its figures
    from_main(partial(begin, folder, budget))
    worker = Worker(
        study=study,
        queue=Queue(folder=folder, budget=budget, seeds=tuple(seeds), rows=chosen),
        desk=desk,
        listeners=listeners,
        keep_samples=keep_samples,
        images=images,
        unseen=unseen,
    )
    with taking(worker.queue) as take:
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


def check_counts(budget: Budget, images: ImageSet, held: ImageSet) -> None:
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
    for name in ("num", "held_out", "reference_num"):
        if getattr(budget, name) < LEAST:
            flag = name.replace("_", "-")
            raise ValueError(f"a Fréchet distance takes at least {LEAST} images: give a larger --{flag}")
    for called, there in (("held-out", held), ("training", images)):
        if len(there) < LEAST:
            raise ValueError(
                f"a Fréchet distance takes at least {LEAST} images, and there are {len(there)} {called} images: "
                "say --extractor none"
            )


def begin(folder: StudyFolder, budget: Budget) -> None:
    """Readies the folder.

    Raises:
        ValueError: it was begun with another budget.
    """
    with folder.lock("study"):
        hold_to(folder.path, budget)


def outcome(worker: Worker) -> Outcome:
    """What became of this call's runs; writes the table and the pictures."""
    write_all(worker.study, worker.queue.folder, worker.queue.budget)
    failures = {job.name: worker.queue.failure(job) for job in worker.queue.jobs()}
    return Outcome(
        failed={name: said for name, said in failures.items() if said is not None},
        left=sum(not worker.queue.is_done(job) for job in worker.queue.jobs()),
    )


def desk_for(device: torch.device, counting: Callable[[str, int], Any]) -> Desk:
    """The desk of a study: no errors, for its spread is that of seeds."""
    return Desk(device=device, counting=counting, groups=0)
