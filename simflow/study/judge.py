"""One trained run before the judges: reconstruction, generation guided and not, and the bits of its bound.

*Guided* is the recipe's own way of sampling: its guidance, its score step, its temperature. *Unguided* is the model
itself: no guidance, no score step, temperature 1. Both draw the same seeds and labels for every run of the study.
"""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from simflow.data.order import spread
from simflow.distributed import barrier, is_main
from simflow.evaluate import fidelity
from simflow.evaluate.collect import Pictures
from simflow.evaluate.desk import Desk, looked_at
from simflow.evaluate.scores import no_bound
from simflow.evaluate.shards import make
from simflow.evaluate.unseen import likelihood
from simflow.files import replacing
from simflow.frechet import frechet_distance
from simflow.model import Model
from simflow.pipeline import Pipeline
from simflow.pixels import Bytes
from simflow.sample import SampleConfig, balanced_labels
from simflow.study.bench import Bench
from simflow.study.budget import Budget

SHOWN = 10
"""Images of each kind on the contact sheet."""


def judged(
    pipe: Pipeline, sha256: str, bench: Bench, budget: Budget, desk: Desk, *, samples: Path, keep: bool
) -> tuple[dict[str, Any], dict[str, Bytes]]:
    """The figures of a run by key, and some of its images by what they are; collective.

    Args:
        pipe: the run, on the desk's device.
        sha256: of its weights: samples of others are not taken up.
        bench: the judges.
        budget: how many samples.
        desk: how they are made.
        samples: folder for them while they are judged.
        keep: whether they stay there.

    Raises:
        ValueError: too few samples or images, or figures that cannot be taken.
    """
    figures, shown = rebuilt(pipe.model, bench, desk)
    own = pipe.config.sample
    for ending, config in (("", unguided(own)), ("_guided", own)):
        images = sampled(
            pipe, config, samples / f"{ending.strip('_') or 'unguided'}-{sha256[:12]}", budget, desk
        )
        figures |= {f"{key}{ending}": value for key, value in generated(images, bench, desk).items()}
        first = range(min(SHOWN, len(images)))
        shown[ending.strip("_") or "unguided"] = images.images(list(first))
    figures["bits"] = bits(pipe.model, bench, desk)
    barrier()
    if is_main() and not keep:
        shutil.rmtree(samples)
    return figures, shown


def unguided(config: SampleConfig) -> SampleConfig:
    """The model itself."""
    return replace(config, guidance=None, refinement=None, temperature=1.0)


def rebuilt(model: Model, bench: Bench, desk: Desk) -> tuple[dict[str, Any], dict[str, Bytes]]:
    """Figures of reconstructions of held-out images, and the first of them."""
    with desk.counting("reconstructing", len(bench.numbers)) as count:
        images = fidelity.reconstruct(
            model, bench.held, bench.numbers, seed=desk.seed, batch=desk.model_batch, on_progress=count
        )
    table = fidelity.per_image(
        bench.originals, images, bench.perceptual, device=desk.device, batch=desk.batch
    )
    name = None if bench.perceptual is None else bench.perceptual.name
    columns = {"psnr": "PSNR", "ssim": "SSIM", "lpips": name}
    figures: dict[str, Any] = {
        key: _mean(table[called]) if called in table else None for key, called in columns.items()
    }
    figures["rfd"] = None
    if bench.eyes is not None:
        seen = looked_at(bench.eyes.extractor, images, "looking at reconstructions", desk)
        real, made = (one.moments.gaussian() for one in (bench.eyes.originals, seen))
        figures["rfd"] = frechet_distance(real, made).distance
    some = spread(len(images), SHOWN)
    return figures, {"original": bench.originals.pixels[some], "reconstruction": images.pixels[some]}


def sampled(pipe: Pipeline, config: SampleConfig, folder: Path, budget: Budget, desk: Desk) -> Pictures:
    """The study's samples, classes in turn."""
    with desk.counting("sampling", budget.num) as count:
        return make(
            pipe.model,
            folder,
            seeds=range(budget.num),
            labels=balanced_labels(budget.num, len(pipe.model.facts.class_names)),
            config=config,
            record={},
            on_progress=count,
        )


def generated(images: Pictures, bench: Bench, desk: Desk) -> dict[str, Any]:
    """Fréchet distance, class accuracy and diversity of samples."""
    distance = None
    if bench.eyes is not None:
        seen = looked_at(bench.eyes.extractor, images, "looking at samples", desk)
        distance = frechet_distance(bench.eyes.reference, seen.moments.gaussian()).distance
    pixels = fidelity.pixels_of(images, torch.arange(len(images)))
    return {
        "fd": distance,
        "accuracy": bench.recogniser.accuracy(pixels, images.labels),
        "diversity": bench.recogniser.diversity(pixels, images.labels),
    }


def bits(model: Model, bench: Bench, desk: Desk) -> float | None:
    """The bound on held-out images; None where there is no density or no bound."""
    if no_bound(model) is not None:
        return None
    _, found = likelihood(model, bench.some, bench.held, bench.numbers, {}, desk)
    return _mean(found["held out"].bits)


def write_pictures(file: Path, shown: dict[str, Bytes]) -> None:
    """Keeps images for the contact sheet."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as part, part.open("wb") as opened:
        np.savez(opened, **{name: images.numpy() for name, images in shown.items()})  # pyright: ignore[reportArgumentType]


def read_pictures(file: Path) -> dict[str, Bytes]:
    """What :func:`write_pictures` kept."""
    with np.load(file, allow_pickle=False) as found:
        return {name: torch.from_numpy(found[name]) for name in found.files}


def _mean(values: Tensor) -> float:
    return values.mean().item()
