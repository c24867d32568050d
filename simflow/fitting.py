"""From a configuration and images to a trained run folder: where data, model, objective and loop meet.

:func:`fit` is what ``simflow train`` and ``simflow demo`` call, and what a program calls that trains. It makes the
weights, from the seed or from where ``start_from`` says, opens or resumes the run folder, and hands everything to
:func:`simflow.train.loop.train`. What listens (a progress bar, a picture maker, a tracker) is given by the caller, so
nothing here prints.

A run goes on where its newest checkpoint stands, if the settings are the same in all that matters. Lengths and
how often things are written may change (:func:`free_to_change`); of other settings the differences are named.
"""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from simflow import distributed
from simflow.config import RunConfig, completed, from_record, to_record
from simflow.data.images import ImageSet, load, tell_skipped
from simflow.data.loader import Shown
from simflow.files import at_home
from simflow.model import Facts, Model
from simflow.objective import Objective
from simflow.precision import NetworkDtype, faster_dtype, network_dtype
from simflow.records import differences, differing
from simflow.sample import applicable
from simflow.seeding import fold
from simflow.shapes import NULL
from simflow.start import start
from simflow.train import checkpoint
from simflow.train.callbacks import Callback, CollapseMonitor, MetricsFile
from simflow.train.codes import forget, kept
from simflow.train.loop import begin, never, train
from simflow.train.optim import total_steps
from simflow.train.populations import look_at
from simflow.train.runs import RunFolder, alone_in, logging_to, open_or_resume
from simflow.train.state import TrainState
from simflow.train.validation import Validation, labels_for, part_for

logger = logging.getLogger("simflow")

Listeners = Callable[[RunFolder, Objective], Sequence[Callback]]


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What a training left behind."""

    run: RunFolder
    """The folder with settings, metrics and checkpoints."""
    config: RunConfig
    """The settings, with the dtype that was found in the place of "auto"."""
    objective: Objective
    """The loss, and in it the model with its weights after the last step."""
    state: TrainState
    """Average, optimiser and counters."""
    finished: bool
    """False if a signal or ``until`` stopped it; the same call goes on."""
    seconds_before: float
    """Seconds of training that earlier calls have spent."""


def fit(
    config: RunConfig,
    folder: str | Path,
    *,
    images: ImageSet | None = None,
    unseen: ImageSet | None = None,
    device: torch.device | str | None = None,
    listeners: Listeners = lambda run, objective: (),
    on_sample: Callable[[Model, int], None] | None = None,
    until: Callable[[], bool] = never,
) -> Fitted:
    """Trains, or goes on training, into ``folder``; collective under torchrun.

    A run of six steps is ``fit(config.with_steps(6), ...)``. Ctrl-C, in the main thread, saves and returns with
    ``finished`` False; the same call goes on.

    Nothing is shown but warnings. ``logging.basicConfig(level=logging.INFO)`` shows what ``log.txt`` holds, and a
    listener the losses: the bar of the commands, :class:`simflow.train.progress.Progress`, which without a terminal is
    lines of the log, or any :class:`simflow.train.callbacks.Callback` of one's own::

        fit(config, "runs/mine", listeners=lambda run, objective: [Progress(config.train.stages)])

    Args:
        config: a recipe's configuration, possibly changed.
        folder: the run folder; made if need be, resumed if it holds a checkpoint.
        images: the training set, such as :func:`simflow.data.from_arrays` makes; that of ``config.data`` if None.
        unseen: held-out images for ``train.validation``; those of ``config.data`` if None.
        device: where to train, as for :func:`simflow.distributed.device_of`: "auto" is a GPU if there is one; the CPU
            if None.
        listeners: makes further callbacks once folder and objective stand.
        on_sample: called with the model, its average in it, and the step, every ``train.sample_every`` steps.
        until: asked after every step (of several processes, whenever losses are read) on every rank; where one says
            True, the run is saved and stopped as by Ctrl-C.

    Raises:
        ValueError: no such device, no images, images of another size or number of channels than ``config.data`` says,
            none that are held out where they are asked for, settings that cannot be read back (a type that its slot
            does not name), a batch that the processes cannot share, weights to start from that are not there or do not
            fit, a device that lacks what the objective needs, or a folder that holds something else or in which another
            process is training.
    """
    folder, device = at_home(folder), distributed.device_of(device or "cpu")
    distributed.prepare(device)
    refuse_device(config, device)
    dtype, asked = dtype_for(config, folder, device), config.train.dtype
    config = replace(config, train=replace(config.train, dtype=dtype))
    check_share(config.train.batch)
    images = load(config.data) if images is None else images
    refuse_misfit(config, images)
    facts = facts_of(config, images)
    record = to_record(config, facts)
    from_record(record)  # what cannot be read back is refused before it is trained
    refuse_changes(folder, record)
    objective = initial(config, facts, device)
    if config.start_from is not None and RunFolder(folder).newest is None:
        start(objective.model, config.start_from)
    state = begin(objective, config.train)
    validation, how = None, config.train
    if how.validation is not None:
        unseen = load(part_for(config.data)) if unseen is None else unseen
        refuse_misfit(config, unseen, "held-out images")
        labels, best = labels_for(unseen, images), RunFolder(folder).best
        validation = Validation(
            objective, unseen, labels, how.validation, seed=how.seed, dtype=dtype, best=best
        )
    with ExitStack() as inside:
        inside.enter_context(alone_in(RunFolder(folder)))
        run, resumed = open_or_resume(folder, record)
        inside.enter_context(logging_to(run.log))
        if resumed is not None:
            checkpoint.load(resumed, state)
            if distributed.is_main():
                over = state.step >= total_steps(config.train.stages)
                logger.info(
                    "%s %s", "there is nothing left to train in" if over else "going on from", resumed
                )
        else:
            if asked == "auto" and distributed.is_main():
                logger.info("networks compute in %s, the faster one on this device (train.dtype auto)", dtype)
            if config.start_from is not None and distributed.is_main():
                logger.info("weights from %s (%s)", config.start_from.path, config.start_from.parts)
            if objective.frechet is not None:
                look_at(images, objective.frechet, flip=config.data.flip, dtype=dtype)
        note_images(state, images)
        told = tell_skipped(images, set() if validation is None else tell_skipped(validation.images))
        seconds_before, began = float(state.extra.get("seconds", 0.0)), time.monotonic()
        shown: Shown = images
        if objective.coded and state.step < total_steps(how.stages):
            shown = kept(run.codes, objective.model, images, flip=config.data.flip, dtype=dtype)
            state.extra["seconds"] = seconds_before + time.monotonic() - began
        finished = train(
            objective,
            state,
            shown,
            config.train,
            flip=config.data.flip,
            folder=run.checkpoints,
            saved_config=record,
            callbacks=[
                MetricsFile(run.metrics),
                *watch(objective),
                *listeners(run, objective),
            ],
            on_sample=None if on_sample is None else lambda step: on_sample(objective.model, step),
            validation=validation,
            until=until,
        )
        tell_skipped(images, told)
        if finished:
            forget(run.codes)
    return Fitted(
        run=run,
        config=config,
        objective=objective,
        state=state,
        finished=finished,
        seconds_before=seconds_before,
    )


def watch(objective: Objective) -> list[Callback]:
    """The monitor of collapse, where there is a prior's term to watch."""
    weight = objective.config.prior_weight
    if not weight:
        return []
    return [CollapseMonitor(objective.floor, margin=0.05 * weight, bottom=objective.bottom)]


def facts_of(config: RunConfig, images: ImageSet) -> Facts:
    """What the run's model must know of these images."""
    names = config.classes_of(images.class_names)
    facts = Facts(image_size=images.image_size, channels=images.channels, class_names=names)
    if len(facts.families) == len(names):
        return facts
    labels = images.once().labels
    sizes = labels[labels != NULL].bincount(minlength=len(names))
    return replace(facts, class_sizes=tuple(sizes.tolist()))


def refuse_device(config: RunConfig, device: torch.device) -> None:
    """Says what a device cannot do before anything is made.

    Raises:
        ValueError: FD-loss on a GPU of Apple's.
    """
    if device.type == "mps" and config.objective.frechet is not None:
        raise ValueError(
            "FD-loss keeps its populations in float64, which a GPU of Apple's does not have: say --device cpu"
        )


def dtype_for(config: RunConfig, folder: Path, device: torch.device) -> NetworkDtype:
    """In what the networks of a run compute; "auto" is what the run in the folder began with, or else what is faster on
    the device of the first process. Collective.
    """
    if config.train.dtype != "auto":
        return network_dtype(config.train.dtype)
    run = RunFolder(folder)

    def found() -> NetworkDtype:
        if run.newest is None or not run.config.is_file():
            return faster_dtype(device)
        return network_dtype(completed(checkpoint.load_config(folder))["config"]["train"]["dtype"])

    return distributed.from_main(found)


def initial(config: RunConfig, facts: Facts, device: torch.device) -> Objective:
    """Objective and model on a device, the weights a function of ``train.seed`` alone.

    Raises:
        ValueError: the image side does not fit the model.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(fold(config.train.seed, "weights"))
        model, coded = config.model.build(facts), config.train.codes == "kept"
        guidance = applicable(config.sample.guidance, model)
        return Objective(config.objective, model, coded=coded, guidance=guidance).to(device)


def refuse_misfit(config: RunConfig, images: ImageSet, called: str = "images") -> None:
    """Refuses images that are not as the settings say: later on, others are made ready by these for the model.

    Raises:
        ValueError: their size or their channels are others.
    """
    there, said = images, config.data
    if (there.channels, there.image_size) != (said.channels, said.image_size):
        raise ValueError(
            f"the {called} are {there.channels} x {there.image_size} x {there.image_size} (channels, height, width), "
            f"but by data.channels and data.image_size they would be {said.channels} x {said.image_size} x "
            f"{said.image_size}"
        )


def check_share(batch: int) -> None:
    """Refuses a batch that the processes cannot share equally.

    Raises:
        ValueError: the batch is not a multiple of the number of processes.
    """
    world = distributed.world()
    if batch % world:
        raise ValueError(f"a batch of {batch} images cannot be shared equally by {world} processes")


def free_to_change(record: dict[str, Any]) -> list[str]:
    """Dotted paths in a run's record whose change does not hinder going on.

    They are lengths and warm-ups, what only takes memory or time (pieces of a batch, checkpointing of activations,
    compiling, kept codes), how often and what is written, how sampling is done by default (but for the guidance of
    samples that are learnt from), and where the images lie and how they are read (their classes, number of channels and
    size must stay).
    """
    free = [
        "name",
        "classes",
        "train.codes",
        "train.compile",
        "train.microbatch",
        "train.log_every",
    ]
    free += ["train.sample_every", "train.save_every", "train.keep", "train.validation"]
    free += ["data.path", "data.cache_gib", "data.workers", "data.corrupt"]
    free += ["model.autoencoder.checkpointing", "model.prior.checkpointing"]
    free += ["model.prior.block.checkpointing", "model.prior.solver"]
    if record["config"]["objective"]["frechet"] is None:
        free.append("sample")
    else:
        free += [f"sample.{name}" for name in record["config"]["sample"] if name != "guidance"]
    for number in range(len(record["config"]["train"]["stages"])):
        free += [f"train.stages.{number}.steps", f"train.stages.{number}.schedule.warmup"]
    return ["facts.class_sizes", *(f"config.{path}" for path in free)]


def refuse_changes(folder: Path, record: dict[str, Any]) -> None:
    """Says how the settings at hand differ from those of the run in ``folder``, if it has a checkpoint.

    Raises:
        ValueError: they differ in what matters; each is named with both values.
    """
    run = RunFolder(folder)
    if run.newest is None or not run.config.is_file():
        return
    there = completed(checkpoint.load_config(folder))
    free = free_to_change(record)
    changed = [
        differing(there, record, path).removeprefix("config.")
        for path in differences(there, record)
        if not any(path == each or path.startswith(f"{each}.") for each in free)
    ]
    if changed:
        raise ValueError(f"the run in '{folder}' was made with other settings: {'; '.join(changed)}")


def note_images(state: TrainState, images: ImageSet) -> None:
    """Remembers the fingerprint of the images in the state, and warns if a resumed run has others."""
    before = state.extra.setdefault("images", images.fingerprint)
    if before != images.fingerprint:
        state.extra["images"] = images.fingerprint
        if distributed.is_main():
            logger.warning("the images are not those that the run began with; it goes on with the new ones")
