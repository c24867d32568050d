"""``simflow train RECIPE``: a recipe, changed by a file and flags, trained into a run folder."""

import logging
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from rich.console import Console
from tyro.conf import Positional, arg

from simflow import distributed
from simflow.cli import STOPPED
from simflow.cli.describe import lines_of, on_meta
from simflow.cli.held_out import check_data
from simflow.cli.pictures import sampled_sheet
from simflow.cli.resolve import resolve, start_of
from simflow.cli.shared_arguments import Device
from simflow.cli.talk import load_showing, talking
from simflow.config import RunConfig
from simflow.data.find import is_there
from simflow.data.part import find_part
from simflow.export import save_picture
from simflow.fitting import facts_of, fit
from simflow.model import Facts, Model
from simflow.objective import Objective
from simflow.processor import multiplies_bfloat16, processor
from simflow.recipes.after import Stage
from simflow.settings import to_dict
from simflow.start import StartFrom, place, start
from simflow.train.callbacks import Callback
from simflow.train.checkpoint import latest, step_of
from simflow.train.loop import TrainConfig
from simflow.train.optim import total_steps
from simflow.train.progress import Progress
from simflow.train.runs import RunFolder, new_run
from simflow.train.trackers import TensorBoard, Wandb
from simflow.train.validation import part_for
from simflow.yaml_text import dump_yaml

logger = logging.getLogger("simflow")

WORTH_COMPILING = 4000
"""Steps of a run from which on one to three minutes of compiling are worth it on a CPU."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Trains a recipe into a run folder: settings, metrics.jsonl, log.txt, sample sheets, checkpoints.

    Every setting of the recipe (--dry-run prints them all) can be changed by a dotted flag, such as
    --train.batch 64, --train.stages.0.steps 64Ki, --model.posterior.std 0.3 or --data.image_size 64.

    With --out, the same command again goes on from the newest checkpoint. Without it every call makes a new
    folder runs/00000-name; to go on with that one, give it to --resume (its own settings hold) or to --out.
    Lengths, log_every, save_every, the device and the like may change on the way; all else must be the same.

    Ctrl-C and SIGTERM save before they stop, exit code 130. Several GPUs: torchrun --nproc-per-node 8 -m simflow
    train ...; the batch is that of all processes together.
    """

    recipe: Positional[str | None] = None
    """Name of a recipe (see: simflow recipes), or a function of your own that gives one, such as mine.py:laplace or
    package.module:laplace."""
    data: str | None = None
    """Where the images are: a folder, a .zip, .tar, .npz, .parquet or idx file, hub:OWNER/NAME (a data set of the
    hub), or embedded:fashion-mnist."""
    start_from: str | None = None
    """Weights to begin with: a run, a checkpoint, a model's name as in simflow recipes, or an autoencoder's
    published weights; null begins from the seed where the recipe begins elsewhere."""
    next: Stage | None = None
    """In place of a recipe: what the run or model in --start_from learns next, by its own settings. decoder: the
    decoder alone, against a judge (sharper pictures); prior: the flow alone, on codes made once, as long again;
    frechet: the flow, from its own samples (FD-loss)."""
    out: Path | None = None
    """The run folder; resumed if it holds a checkpoint."""
    resume: Path | None = None
    """A run folder to go on with, by its own settings; instead of a recipe."""
    config: Path | None = None
    """A YAML file of settings, nested or dotted, such as what --dry-run prints; or a run's config.json. Flags win over
    it."""
    steps: str | None = None
    """Length of the whole run; several stages and their warm-ups are stretched in proportion."""
    name: str | None = None
    """Name of a new run; the recipe's if not given."""
    dry_run: bool = False
    """Print the settings as YAML, and in its comments parameter counts and images found, and write nothing."""
    device: Device = "auto"
    log: Annotated[str, arg(aliases=["--trackers"])] = ""
    """Trackers to report to besides metrics.jsonl: tensorboard, wandb, or both with a comma. Under torchrun write
    --trackers, because torchrun reads --log as one of its own options."""


def run(arguments: Arguments, settings: Mapping[str, Any]) -> int:
    """Trains."""
    trackers = tracker_names(arguments.log)
    if arguments.resume is not None and arguments.out is not None:
        raise ValueError("give either --out or --resume, for both name the run folder")
    base = start_of(arguments.recipe, arguments.resume, arguments.next, arguments.start_from)
    config = resolve(
        base,
        settings,
        file=arguments.config,
        data=arguments.data,
        name=arguments.name,
        steps=arguments.steps,
        start_from=arguments.start_from,
    )
    known = arguments.out or arguments.resume
    goes_on = known is not None and latest(RunFolder(known).checkpoints) is not None
    unsaid = arguments.resume is None and arguments.data is None and config.data.path == base.data.path
    if not (arguments.dry_run and unsaid):
        check_data(config.data)
    if known is not None:
        check_length(config, RunFolder(known))
    origin = None if goes_on else config.start_from
    if origin is not None and (origin.path is not None or not arguments.dry_run):
        place(origin)
    if arguments.dry_run:
        with talking():
            planned = plan(config, origin)
        print("\n".join(planned))
        return 0
    with distributed.launch(arguments.device) as device, talking() as console:
        images = load_showing(config.data, console)
        on_meta(
            config, facts_of(config, images)
        )  # a model that does not fit is refused before a folder is made
        hint = advice(config.train, device.type, processor())
        if hint is not None and not goes_on and distributed.is_main():
            logger.info(hint)
        folder = known or new_run(Path("runs"), config.name).path
        try:
            fitted = fit(
                config,
                folder,
                images=images,
                device=device,
                listeners=lambda run, objective: listeners(run, objective, config, console, trackers),
                on_sample=lambda model, step: draw(model, config, RunFolder(folder), step),
            )
        except ValueError:
            if known is None and distributed.is_main() and not any(folder.iterdir()):
                folder.rmdir()
            raise
        if distributed.is_main():
            step, steps = fitted.state.step, total_steps(config.train.stages)
            what = "finished" if fitted.finished else "stopped and saved"
            with suppress(BrokenPipeError):  # if nobody reads on, the exit code says it still
                print(f"{what} at step {step} of {steps}; the run is in {folder}")
    return 0 if fitted.finished else STOPPED


def advice(train: TrainConfig, device: str, processor: bytes) -> str | None:
    """What would make a long run in bfloat16 faster on a CPU that multiplies it; None where there is nothing to say.

    ``processor`` is what the system says of the CPU, its instructions named.
    """
    quick = device == "cpu" and train.dtype != "float32" and multiplies_bfloat16(processor)
    if not quick or train.compile or total_steps(train.stages) < WORTH_COMPILING:
        return None
    return (
        "with --train.compile true this run is faster, by an eighth with an autoencoder in it and a quarter for a flow "
        "alone, after minutes of compiling; it may be added when a run goes on"
    )


def listeners(
    run: RunFolder, objective: Objective, config: RunConfig, console: Console, trackers: Sequence[str]
) -> list[Callback]:
    """The progress bar, and the trackers that were asked for.

    Raises:
        ValueError: a tracker's package is not installed.
    """
    made: list[Callback] = [Progress(config.train.stages, floor=objective.floor, console=console)]
    if "tensorboard" in trackers:
        made.append(TensorBoard(run.path / "tensorboard"))
    if "wandb" in trackers:
        made.append(Wandb(run.path, name=run.path.name, config=to_dict(config)))
    return made


def tracker_names(text: str) -> list[str]:
    """The trackers named with commas.

    Raises:
        ValueError: one of them is not known.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in ("tensorboard", "wandb"):
            raise ValueError(f"there is no tracker '{name}'; there are tensorboard and wandb")
    return names


def draw(model: Model, config: RunConfig, run: RunFolder, step: int) -> None:
    """Writes a sheet of samples of the seeds 0, 1, ... into the run's folder; rank 0 only."""
    if distributed.is_main():
        path = run.samples / f"step-{step:07d}.png"
        save_picture(sampled_sheet(model, config.sample), path)
        logger.info("samples in %s", path)


def check_length(config: RunConfig, run: RunFolder) -> None:
    """Refuses to make a run shorter than it is.

    Raises:
        ValueError: its newest checkpoint is past the last step.
    """
    newest, steps = latest(run.checkpoints), total_steps(config.train.stages)
    if newest is not None and step_of(newest) > steps:
        raise ValueError(
            f"the run in '{run.path}' is at step {step_of(newest)} already, past the {steps} asked for; a larger "
            "--steps goes on from there"
        )


def plan(config: RunConfig, origin: StartFrom | None) -> list[str]:
    """What ``--dry-run`` prints: settings, and as comments model, images, weights to start from (unless it goes on) and
    length; all of it is YAML that ``--config`` reads.

    Raises:
        ValueError: the images do not fit the model, or the weights to start from do not, or none are held out where
            they are asked for.
    """
    facts, found = config.expected_facts(), "not looked for: say where they are with --data PATH"
    known = is_there(config.data.path)
    if known and config.train.validation is not None:
        part_for(config.data)
    if known:
        source = find_part(config.data)
        facts = replace(facts, class_names=config.classes_of(source.class_names))
        found = f"{len(source.names)} in {config.data.path}"
    if known and origin is not None and origin.path is not None:
        try_start(config, facts, origin)
    stages = config.train.stages
    length = " + ".join(str(stage.steps) for stage in stages)
    said = [
        *lines_of(config, facts),
        f"data         {found}",
        *([] if origin is None else [f"starts from  {origin_said(origin)}"]),
        f"steps        {total_steps(stages)}{f' = {length}' if len(stages) > 1 else ''}",
        f"batch        {config.train.batch}",
    ]
    return [dump_yaml(to_dict(config)), *(f"# {line}" for line in said)]


def try_start(config: RunConfig, facts: Facts, origin: StartFrom) -> None:
    """Starts a model without memory behind it, to see whether the weights fit.

    Raises:
        ValueError: as :func:`simflow.start.start`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch says that nothing is copied
        start(on_meta(config, facts), origin)


def origin_said(origin: StartFrom) -> str:
    """Where weights come from, in words.

    >>> origin_said(StartFrom(path="runs/demo", parts="prior")), origin_said(StartFrom())
    ('runs/demo (prior)', 'not said: say where with --start_from PATH')
    """
    if origin.path is None:
        return "not said: say where with --start_from PATH"
    return f"{origin.path} ({origin.parts})"
