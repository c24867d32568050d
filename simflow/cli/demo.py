"""``simflow demo``: from nothing to samples and figures on a laptop, autoencoder and flow trained jointly."""

import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from simflow import distributed, recipes
from simflow.canvas import can_plot
from simflow.cli import STOPPED
from simflow.cli.describe import millions, parameters
from simflow.cli.held_out import held_out
from simflow.cli.pictures import COLUMNS, chosen, sheet
from simflow.cli.resolve import resolve
from simflow.cli.talk import load_showing, talking
from simflow.cli.train import check_length, listeners
from simflow.config import RunConfig
from simflow.data.images import ImageSet
from simflow.data.order import spread
from simflow.evaluate.collect import Held, from_main, share_of, together
from simflow.evaluate.fidelity import reconstruct, taken
from simflow.evaluate.quality import evaluate
from simflow.export import enlargement, pairs_grid, save_picture
from simflow.files import write_json
from simflow.fitting import Fitted, fit
from simflow.model import Model
from simflow.report.charts import losses
from simflow.report.plot import plot
from simflow.sample import SampleConfig, balanced_labels, sample_all
from simflow.train.checkpoint import Damaged, read_json
from simflow.train.metrics import read_curves, read_held_out
from simflow.train.runs import RunFolder

SAMPLES = 1000
"""Samples that are judged."""

PAIRS = 40
"""Held-out images that are shown with their reconstructions."""

SAID = {"samples", "recognition", "diversity", "reconstruction", "likelihood", "parameters"}
SAID |= {"seconds", "seconds_training", "peak_memory_gib"}
"""The figures that are said at the end."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Trains SimFlow from scratch on the embedded Fashion-MNIST images, then samples and judges it.

    Under three minutes on two CPU cores. The run folder then holds the settings, metrics.jsonl, a checkpoint
    with the average, losses.png, reconstructions.png, samples.png and figures.json. The same command again goes
    on where it was stopped, or says the figures again. The recipe is "demo"; dotted flags change its settings.
    """

    out: Path = Path("runs/demo")
    """The run folder."""
    steps: str | None = None
    """Length of the training; the recipe's if not given."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""


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
        figures = from_main(partial(known_figures, fitted)) or judged(fitted, config, images, began, console)
        if distributed.is_main():
            print(summary(figures, fitted.run.path))
    return 0


def known_figures(fitted: Fitted) -> dict[str, Any] | None:
    """The figures of an earlier call, if they are whole and of the weights at hand."""
    try:
        figures = read_json(fitted.run.path / "figures.json")
    except Damaged:
        return None
    return figures if figures.get("step") == fitted.state.step and figures.keys() >= SAID else None


def judged(
    fitted: Fitted, config: RunConfig, images: ImageSet, began: float, console: Console
) -> dict[str, Any]:
    """Takes the figures, draws the pictures and writes both; the average stays in the model. Collective."""
    folder, state = fitted.run.path, fitted.state
    model = fitted.objective.model
    state.ema.copy_to(model)
    model.eval()
    console.print(f"sampling {SAMPLES} images")
    samples = sampled(model, config.sample, images.class_names)
    console.print("judging them and the reconstructions of held-out images")
    unseen, _ = held_out(config, None, None)
    figures = evaluate(model, images, unseen, samples)
    some = spread(len(unseen), PAIRS)
    rebuilt = reconstruct(model, unseen, some, seed=figures["seed"])
    if distributed.is_main():
        draw(fitted, config, samples, taken(unseen, some), rebuilt, console)
    figures |= {
        "sample_seeds": f"0-{SAMPLES - 1}",
        "step": state.step,
        "images_seen": state.images_seen,
        "parameters": parameters(model),
        "seconds_training": round(float(state.extra["seconds"]), 1),
        "seconds": round(fitted.seconds_before + time.monotonic() - began, 1),
        "peak_memory_gib": peak_memory_gib(),
        "threads": torch.get_num_threads(),
    }
    if distributed.is_main():
        write_json(folder / "figures.json", figures)
    return figures


def sampled(model: Model, config: SampleConfig, class_names: tuple[str, ...]) -> Held:
    """The samples, classes in turn; without those of the images if the model does not know them. Collective."""
    labels = torch.tensor(balanced_labels(SAMPLES, len(model.facts.class_names)))
    own = share_of(SAMPLES)
    part = sample_all(model, seeds=own.tolist(), labels=labels[own].tolist(), config=config)
    return Held(pixels=together(part, model.device), labels=labels, class_names=class_names)


def draw(
    fitted: Fitted, config: RunConfig, samples: Held, originals: Held, rebuilt: Held, console: Console
) -> None:
    """Writes ``samples.png``, ``reconstructions.png`` and ``losses.png`` into the run folder."""
    folder, facts = fitted.run.path, fitted.objective.model.facts
    shown = chosen(samples.labels.tolist())
    save_picture(sheet(samples.images(shown), samples.labels[shown].tolist(), facts), folder / "samples.png")
    pairs = pairs_grid(
        originals.pixels, rebuilt.pixels, columns=2 * COLUMNS, scale=enlargement(facts.image_size)
    )
    save_picture(pairs, folder / "reconstructions.png")
    if not can_plot():
        console.print("losses.png is left out: it needs matplotlib, pip install matplotlib", markup=False)
    else:
        drawn, unseen = read_curves(fitted.run.metrics), read_held_out(fitted.run.metrics)
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
        "figures.json": "the figures above and more",
        "checkpoints": "weights and their average: simflow sample, reconstruct, interpolate take the run folder",
    }
    width = max(map(len, files)) + len(str(folder)) + 1
    places = [f"{folder / name!s:<{width}}  {text}" for name, text in files.items()]
    return "\n".join(["", *figure_lines(figures), "", *places])


def figure_lines(figures: Mapping[str, Any]) -> list[str]:
    """The figures that there are, a line each."""
    lines = []
    if figures["recognition"] is not None:
        samples, real = figures["recognition"]["samples"], figures["recognition"]["real"]
        lines.append(
            f"class accuracy   {samples:.1%} of {figures['samples']} samples (held-out images: {real:.1%})"
        )
    lines.append(f"diversity        {figures['diversity']:.3f} of that of real images within a class")
    mse, decibels = figures["reconstruction"]["mse"], figures["reconstruction"]["psnr"]
    lines.append(f"reconstruction   MSE {mse:.4f} on [-1, 1], PSNR {decibels:.2f} dB, held out")
    if figures["likelihood"] is not None:
        bits = figures["likelihood"]["bits_per_dimension"]
        lines.append(f"likelihood       ELBO {bits:.3f} bits per dimension, held out")
    peak = figures["peak_memory_gib"]
    held = "" if peak is None else f"{peak:.2f} GiB; "
    lines.append(
        f"cost             {figures['seconds']:.0f} s, {figures['seconds_training']:.0f} s of them training; "
        f"{held}{millions(figures['parameters'])} parameters"
    )
    return lines
