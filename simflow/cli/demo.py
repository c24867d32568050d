"""``simflow demo``: from nothing to samples and figures on a laptop, autoencoder and flow trained jointly."""

import platform
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from simflow import distributed, recipes
from simflow.canvas import can_plot
from simflow.cli import STOPPED
from simflow.cli.describe import millions
from simflow.cli.evaluate import FORMAT
from simflow.cli.evaluate_page import Page
from simflow.cli.evaluate_run import add_likelihood, drawn_by, run_of
from simflow.cli.held_out import held_out
from simflow.cli.image_files import described
from simflow.cli.pictures import pairs_of, sheet_of
from simflow.cli.resolve import resolve
from simflow.cli.shared_arguments import Device
from simflow.cli.talk import load_showing, talking
from simflow.cli.train import check_length, listeners
from simflow.config import RunConfig
from simflow.data.images import ImageSet
from simflow.data.order import spread
from simflow.distributed import from_main, gather_rows, share_of
from simflow.evaluate.called import NONE_HELD_OUT
from simflow.evaluate.collect import Held
from simflow.evaluate.desk import Desk
from simflow.evaluate.figures import finite
from simflow.evaluate.protocol import classes
from simflow.evaluate.provenance import made_by
from simflow.evaluate.recognition import LIMIT
from simflow.evaluate.shards import sampling_of
from simflow.evaluate.unseen import Rebuilt, reconstruction
from simflow.export import save_picture
from simflow.files import write_json
from simflow.fitting import Fitted, fit
from simflow.model import Model
from simflow.pipeline import Pipeline
from simflow.records import at
from simflow.report.charts import losses
from simflow.report.plot import plot
from simflow.sample import SampleConfig, balanced_labels, sample_all
from simflow.tensors import sha256_of_tensors
from simflow.train.checkpoint import Damaged, read_json
from simflow.train.metrics import NoLoss, read_curves, read_held_out
from simflow.train.runs import RunFolder

SAMPLES = 1000
"""Samples that are judged."""

FIGURES = Path("figures.json")
"""The figures in the run folder, laid out as ``simflow evaluate`` lays out its own, with ``cost`` beside."""

SAID = {"run", "samples", "classes", "reconstruction", "left_out", "cost"}
"""The parts of it that are said at the end, ``likelihood`` where there is one."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Trains SimFlow from scratch on the embedded Fashion-MNIST images, then samples and judges it.

    Two to six minutes on two CPU cores. The run folder then holds the settings, metrics.jsonl, a checkpoint
    with the average, losses.png, reconstructions.png, samples.png and figures.json. The same command again goes
    on where it was stopped, or says the figures again. The recipe is "demo"; dotted flags change its settings.
    """

    out: Path = Path("runs/demo")
    """The run folder."""
    steps: str | None = None
    """Length of the training; the recipe's if not given."""
    device: Device = "auto"


def run(arguments: Arguments, settings: Mapping[str, Any]) -> int:
    """Trains, samples, judges and sums up."""
    began = time.monotonic()
    config = resolve(recipes.get("demo"), settings, steps=arguments.steps)
    check_length(config, RunFolder(arguments.out))
    with distributed.launch(arguments.device) as device, talking() as console:
        console.quiet = not distributed.is_main()
        images = load_showing(config.data, console)
        fitted = fit(
            config,
            arguments.out,
            images=images,
            device=device,
            listeners=lambda run, objective: listeners(run, objective, config, console, ()),
        )
        if not fitted.finished:
            print(f"stopped and saved; the same command goes on with {arguments.out}")
            return STOPPED
        known = from_main(partial(known_figures, fitted, config))
        figures = known or judged(fitted, config, images, began, console)
        if distributed.is_main():
            print(summary(figures, fitted.run.path))
    return 0


def known_figures(fitted: Fitted, config: RunConfig) -> dict[str, Any] | None:
    """The figures of an earlier call, if they are whole and of the weights, the images and the way of sampling at
    hand."""
    try:
        figures = read_json(fitted.run.path / FIGURES)
    except Damaged:
        return None
    wanted = {
        "run.step": fitted.state.step,
        "reference.source": config.data.path,
        "samples.sampling": finite(sampling_of(config.sample)),
    }
    same = all(at(figures, place) == value for place, value in wanted.items())
    return figures if same and figures.keys() >= SAID else None


def judged(
    fitted: Fitted, config: RunConfig, images: ImageSet, began: float, console: Console
) -> dict[str, Any]:
    """Takes the figures, draws the pictures and writes both; the average stays in the model. Collective."""
    folder, state = fitted.run.path, fitted.state
    state.ema.copy_to(fitted.objective.model)
    pipe = Pipeline(fitted.objective.model, config)
    console.print(f"sampling {SAMPLES} images")
    samples = sampled(pipe.model, config.sample, images.class_names)
    console.print("judging them and the reconstructions of held-out images")
    unseen, called = held_out(config, None, None)
    apart = unseen.fingerprint != images.fingerprint
    desk = Desk(device=pipe.device, counting=lambda what, total: nullcontext(lambda done: None))
    by_class, left_out = classes(samples, images, unseen if apart else None)
    numbers = spread(len(unseen), LIMIT)
    rebuilt = reconstruction(pipe.model, unseen, numbers, (), None, desk)
    figures: dict[str, Any] = {
        "format": FORMAT,
        "name": FIGURES.stem,
        "made_by": made_by(pipe.device),
        "run": run_of(str(folder), pipe, "ema", sha256_of_tensors(pipe.model.state_dict())),
        "samples": drawn_by(str(folder), config.sample, SAMPLES) | described(samples),
        "reference": {"source": config.data.path} | described(images, fit=config.data.fit),
        "held_out": {"source": called} | described(unseen, fit=config.data.fit),
        "classes": by_class,
        "reconstruction": rebuilt.record,
        "left_out": left_out,
    }
    page = Page(folder=folder, name=FIGURES.stem, record=figures)
    if not apart:
        page.leave_out(NONE_HELD_OUT)
    add_likelihood(page, pipe.model, images, unseen, numbers, {}, desk)
    if distributed.is_main():
        draw(fitted, config, samples, rebuilt, console)
    figures["cost"] = {
        "seconds": round(fitted.seconds_before + time.monotonic() - began, 1),
        "seconds_training": round(float(state.extra["seconds"]), 1),
        "dtype": fitted.config.train.dtype,
        "images_seen": state.images_seen,
        "peak_memory_gib": peak_memory_gib(),
    }
    if distributed.is_main():
        write_json(folder / FIGURES, finite(figures))
    return figures


def sampled(model: Model, config: SampleConfig, class_names: tuple[str, ...]) -> Held:
    """The samples, classes in turn; without those of the images if the model does not know them. Collective."""
    labels = torch.tensor(balanced_labels(SAMPLES, len(model.facts.class_names)))
    own = share_of(SAMPLES)
    part = sample_all(model, seeds=own.tolist(), labels=labels[own].tolist(), config=config)
    return Held(pixels=gather_rows(part, model.device), labels=labels, class_names=class_names)


def draw(fitted: Fitted, config: RunConfig, samples: Held, rebuilt: Rebuilt, console: Console) -> None:
    """Writes ``samples.png``, ``reconstructions.png`` and ``losses.png`` into the run folder."""
    folder, facts = fitted.run.path, fitted.objective.model.facts
    save_picture(sheet_of(samples, facts), folder / "samples.png")
    save_picture(pairs_of(rebuilt.originals, rebuilt.images), folder / "reconstructions.png")
    if not can_plot():
        console.print("losses.png is left out: it needs matplotlib, pip install matplotlib", markup=False)
        return
    try:
        drawn, unseen = read_curves(fitted.run.metrics), read_held_out(fitted.run.metrics)
    except NoLoss:
        console.print("losses.png is left out: no loss was a number", markup=False)
        return
    curves = losses([config.name], [drawn], [unseen], [fitted.objective.floor])
    plot(curves, folder / "losses.png", title=config.name)


def peak_memory_gib() -> float | None:
    """The most memory that this process has held so far; None where the system does not say (Windows)."""
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if platform.system() == "Darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30, 2)


def summary(figures: Mapping[str, Any], folder: Path) -> str:
    """A few lines for people: the figures, and where everything is."""
    files = {
        "samples.png": "samples, one row per class",
        "reconstructions.png": "held-out images, each above its reconstruction",
        "losses.png": "every term of the loss",
        "metrics.jsonl": "the same as numbers",
        FIGURES.name: "the figures above and more",
        "checkpoints": "weights and their average: simflow sample, reconstruct, interpolate take the run folder",
    }
    width = max(map(len, files)) + len(str(folder)) + 1
    places = [f"{folder / name!s:<{width}}  {text}" for name, text in files.items()]
    return "\n".join(["", *figure_lines(figures), "", *places])


def figure_lines(figures: Mapping[str, Any]) -> list[str]:
    """The figures that there are, a line each."""
    unseen = "training images" if NONE_HELD_OUT in figures["left_out"] else "held out"
    lines, known, cost = [], figures["classes"] or {}, figures["cost"]
    if known.get("accuracy") is not None:
        real = known["accuracy_of_held_out"]
        beside = "" if real is None else f" (held-out images: {real:.1%})"
        lines.append(f"class accuracy   {known['accuracy']:.1%} of {known['samples']} samples{beside}")
    if known.get("diversity") is not None:
        lines.append(f"diversity        {known['diversity']:.3f} of that of real images within a class")
    rebuilt = {figure["name"]: figure["value"] for figure in figures["reconstruction"]["figures"]}
    decibels = "infinite" if rebuilt["PSNR"] is None else f"{rebuilt['PSNR']:.2f}"
    lines.append(f"reconstruction   MSE {rebuilt['MSE']:.4f} on [-1, 1], PSNR {decibels} dB, {unseen}")
    if "likelihood" in figures:
        bits = figures["likelihood"]["held_out"]["bits_per_dimension"]
        said = "infinite" if bits is None else f"{bits:.3f}"
        lines.append(f"likelihood       ELBO {said} bits per dimension, {unseen}")
    peak = cost["peak_memory_gib"]
    held = "" if peak is None else f"{peak:.2f} GiB; "
    dtype = f" in {cost['dtype']}" if "dtype" in cost else ""
    lines.append(
        f"cost             {cost['seconds']:.0f} s, {cost['seconds_training']:.0f} s of them training{dtype}; "
        f"{held}{millions(figures['run']['parameters'])} parameters"
    )
    return lines
