"""``simflow analyze RUN ...``: latents, noise and guidance of trained runs, as JSON and pictures."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from rich.console import Console
from tyro.conf import OmitArgPrefixes, Positional, arg

from simflow import distributed
from simflow.analysis.analyze import analyze
from simflow.analysis.origin import Origin, names_of, now, software
from simflow.analysis.record import FILE, Analysis, Plan, save
from simflow.analysis.robustness import LEVELS
from simflow.analysis.sweep import WEIGHTS
from simflow.canvas import can_plot
from simflow.cli.held_out import held_out
from simflow.cli.image_files import tell_unreadable
from simflow.cli.shared_arguments import Device, Which
from simflow.cli.speed import Speed, sped
from simflow.cli.talk import talking
from simflow.cli.words import refuse_settings
from simflow.config import RunConfig
from simflow.data.images import ImageSet, load
from simflow.evaluate.choose import Chosen, choose
from simflow.files import require_writable
from simflow.flow.score import GuidedScoreStep
from simflow.pipeline import Pipeline
from simflow.places import find
from simflow.report import charts
from simflow.report.gather import ANALYSIS
from simflow.report.plot import plot
from simflow.report.results import rounded
from simflow.sample import SampleConfig
from simflow.train.checkpoint import step_behind


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Looks into trained runs: statistics of the latents, reconstruction against growing latent noise, interpolations
    (Figures 3 and 4 of the SimFlow paper), how Gaussian the flow's noise is, samples by class and block by block, and
    a guidance sweep with and without Eq. 6 (Fréchet distance as in Figure 7, class accuracy and diversity).

    Writes analysis.json and PNG pictures into RUN/analysis, where simflow report finds them. Images come from the
    run's held-out data unless told otherwise. What does not apply to a run is left out and said.
    """

    runs: Positional[tuple[str, ...]]
    """Run folders (their newest checkpoints), checkpoint folders, saved models, names as in simflow recipes, or
    owner/name on the hub."""
    out: Path | None = None
    """Folder for the results instead of RUN/analysis; of several runs, a folder in it for each, and their charts
    together in "comparison"."""
    num: Annotated[int, arg(aliases=["-n"])] = Plan.images
    """Held-out images to encode."""
    samples: int = Plan.samples
    """Samples at each guidance weight."""
    levels: tuple[float, ...] = LEVELS
    """Noise on the latents, in their standard deviations."""
    guidance: tuple[float, ...] = WEIGHTS
    """Weights of the guidance sweep."""
    gamma: tuple[float, ...] | None = None
    """Sweep also with SimFlow's guided score step (Eq. 6) of these sizes; the run's own if it has one, 0 for none.
    They stand in the place of another refinement of the run, with which the first sweep is made."""
    speed: OmitArgPrefixes[Speed]
    """How fast samples are drawn, and how near to exact, as for simflow sample; a plan is for one guidance weight, and
    not for a sweep."""
    extractor: str = "efficientnet-lite0"
    """Networks of the sweep's Fréchet distance, with commas: efficientnet-lite0, inception=FILE, dinov2 or
    dinov2=PATH; or none."""
    steps: int = Plan.steps
    """Images of an interpolation."""
    seed: int = Plan.seed
    """Seed of the noise on latents."""
    data: str | None = None
    """Images; the runs' own data if not given."""
    split: str | None = None
    """Which split is held out; test, or else validation, or else all images."""
    which: Which = "ema"
    device: Device = "auto"


def run(arguments: Arguments, settings: Mapping[str, Any]) -> int:
    """Analyzes, writes and sums up."""
    refuse_settings(settings, "analyze")
    if not arguments.runs:
        raise ValueError("say which run to analyze: a run folder, a saved model, or owner/name on the hub")
    if arguments.steps < 2:
        raise ValueError(f"--steps must be at least 2, for both ends are among them, not {arguments.steps}")
    if not arguments.levels or not all(0 <= level < math.inf for level in arguments.levels):
        raise ValueError("--levels must be given, and each must be a finite number from 0 on")
    if not all(0 <= weight < math.inf for weight in arguments.guidance):
        raise ValueError("--guidance must be finite numbers from 0 on")
    plan = Plan(
        images=arguments.num,
        seed=arguments.seed,
        levels=arguments.levels,
        steps=arguments.steps,
        weights=arguments.guidance,
        samples=arguments.samples,
        gammas=arguments.gamma,
    )
    if arguments.speed.decoding == "plan":
        raise ValueError(
            "a plan is for one strength of guidance, and an analysis sweeps it: say --decoding jacobi"
        )
    networks = choose(arguments.extractor)
    names = names_of(list(arguments.runs))
    folders = [
        place(run, name, arguments.out, len(names)) for run, name in zip(arguments.runs, names, strict=True)
    ]
    with distributed.launch(arguments.device) as device, talking() as console:
        if distributed.is_main():
            found = []
            for given, name, folder in zip(arguments.runs, names, folders, strict=True):
                if len(names) > 1:
                    console.print(name, markup=False)
                pipe = Pipeline.from_pretrained(given, which=arguments.which).to(device)
                way = way_of(pipe, arguments.speed, plan, given)
                pipe = Pipeline(pipe.model, replace(pipe.config, sample=way))
                analysis = examined(pipe, given, name, folder, plan, networks, arguments)
                save_charts(folder, [name], [analysis], console)
                found.append(analysis)
            if len(names) > 1 and arguments.out is not None:
                save_charts(arguments.out / "comparison", names, found, console)
            print("\n".join([*lines_of(names, found), "", *map(str, folders)]))
        distributed.barrier()
    return 0


def place(given: str, name: str, out: Path | None, count: int) -> Path:
    """Where a run's results go.

    Raises:
        ValueError: the run is not a folder, and nothing else is said.
    """
    if out is not None:
        return out if count == 1 else out / name.replace("/", "-")
    if not Path(given).is_dir():
        find(given)
        raise ValueError(f"'{given}' is not a folder to write into: say where with --out")
    return Path(given) / ANALYSIS


def way_of(pipe: Pipeline, speed: Speed, plan: Plan, source: str) -> SampleConfig:
    """How to sample: the run's own way, with what the flags change; batches fit all that the sweeps do.

    Raises:
        ValueError: flags that contradict each other or the model, or a memory in which not one image fits.
    """
    own, greediest = pipe.config.sample, pipe.config.sample
    if pipe.model.facts.class_names and pipe.model.prior.rules and any(plan.weights):
        greediest = replace(greediest, guidance=pipe.guidance(max(plan.weights)))
    if plan.gammas and any(plan.gammas) and pipe.model.prior.has_density:
        greediest = replace(greediest, refinement=own.refinement or GuidedScoreStep())
    found = sped(greediest, speed, model=pipe.model, source=source)
    return replace(own, batch=found.batch, decoding=found.decoding, dtype=found.dtype)


def examined(
    pipe: Pipeline,
    given: str,
    name: str,
    folder: Path,
    plan: Plan,
    networks: Chosen,
    arguments: Arguments,
) -> Analysis:
    """Analyzes one run and writes what is found."""
    images, called = held_out(pipe.config, arguments.data, arguments.split)
    step = step_behind(find(given))
    origin = Origin(
        run=name, weights=arguments.which, step=step, data=called, date=now(), software=software()
    )
    train = trained_on(pipe.config, arguments.data)
    require_writable(folder / FILE)
    analysis, pictures = analyze(pipe, images, train, plan, origin, networks)
    tell_unreadable(train, images)
    save(folder, analysis, pictures)
    return analysis


def trained_on(config: RunConfig, path: str | None) -> ImageSet | str:
    """The images that the run was trained on, or their split of the images at a path, one of each that are alike; or
    why there are none."""
    try:
        return load(config.data if path is None else replace(config.data, path=path)).once()
    except ValueError as error:
        return str(error).rstrip(".")


def save_charts(folder: Path, names: Sequence[str], found: Sequence[Analysis], console: Console) -> None:
    """Writes the charts of one run or of several together, if matplotlib is there."""
    if not can_plot():
        said = "charts are left out as PNG files: they need matplotlib, pip install matplotlib"
        console.print(said, markup=False, soft_wrap=True)
        return
    folder.mkdir(parents=True, exist_ok=True)
    for group, drawn in charts.of_analyses(names, found).items():
        plot(drawn, folder / f"{group}.png", title=f"{group.replace('-', ' ')}: {', '.join(names)}")


def lines_of(names: Sequence[str], found: Sequence[Analysis]) -> list[str]:
    """A small table, a column per run, and what is left out."""
    rows = [("", list(names))]
    for title, field in (
        ("spectral entropy", "spectral_entropy"),
        ("high-frequency ratio", "high_frequency_ratio"),
        ("total variation", "total_variation"),
        ("autocorrelation", "autocorrelation"),
    ):
        cells = [
            f"{vars(each.latents.drawn)[field]:.3f}" if each.latents is not None else "-" for each in found
        ]
        rows.append((title, cells))
    rows.append(("PSNR by latent noise", [_psnr(each) for each in found]))
    rows.append(
        (
            "deviation of z's variance",
            ["-" if each.noise is None else f"{each.noise.normality.variance:.2f}" for each in found],
        )
    )
    for weight in dict.fromkeys(weight for each in found for weight in each.plan.weights):
        rows.append((f"accuracy / diversity at {weight:g}", [_judged(each, weight) for each in found]))
    for title, cells in _far(found).items():
        rows.append((title, cells))
    widths = [max(len(row[1][column]) for row in rows) for column in range(len(names))]
    lines = [
        "  ".join([f"{title:<28}", *(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True))])
        for title, cells in rows
    ]
    left = [
        f"{name + ': ' if len(names) > 1 else ''}{line}"
        for name, each in zip(names, found, strict=True)
        for line in each.left_out
    ]
    return [line.rstrip() for line in lines] + left


def _psnr(analysis: Analysis) -> str:
    curve = analysis.robustness
    return (
        "-" if curve is None else ", ".join("exact" if each is None else f"{each:.1f}" for each in curve.psnr)
    )


def _judged(analysis: Analysis, weight: float) -> str:
    for sweep in analysis.sweeps[:1]:
        if weight in sweep.weights:
            at = sweep.weights.index(weight)
            return f"{rounded(sweep.accuracy[at], sweep.accuracy_error[at])} / {sweep.diversity[at]:.3f}"
    return "-"


def _far(found: Sequence[Analysis]) -> dict[str, list[str]]:
    """The Fréchet distances of all sweeps: what a row is called, and a cell a run."""
    rows: dict[str, list[str]] = {}
    for column, analysis in enumerate(found):
        for sweep in analysis.sweeps:
            for each in sweep.distances:
                for weight, value in zip(sweep.weights, each.values, strict=True):
                    cells = rows.setdefault(f"{each.name} at {weight:g}{sweep.apart}", ["-"] * len(found))
                    cells[column] = rounded(value)
    return rows
