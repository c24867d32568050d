"""``simflow evaluate RUN``: samples, then every part of the evaluation that was asked for, with their files."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console

from simflow import distributed
from simflow.cli.evaluate_arguments import Arguments
from simflow.cli.evaluate_page import Page
from simflow.cli.held_out import check_data, held_out
from simflow.cli.image_files import described, limited, real_images, tell_unreadable
from simflow.cli.pictures import COLUMNS, ROWS, pairs_of, sheet, sheet_of
from simflow.cli.sample import labels_for
from simflow.cli.sampling import changed
from simflow.cli.speed import sped
from simflow.cli.talk import load_showing
from simflow.config import RunConfig
from simflow.data.images import ImageSet
from simflow.data.order import spread
from simflow.evaluate.called import NONE_HELD_OUT, unseen_of
from simflow.evaluate.choose import Chosen, choose
from simflow.evaluate.collect import Held, Pictures
from simflow.evaluate.desk import Desk
from simflow.evaluate.extractors import Extractor, Missing
from simflow.evaluate.generation import LEAST, GenerationConfig, require_enough
from simflow.evaluate.lpips import Judge, judge
from simflow.evaluate.protocol import Real, classes, generation, require_same_size
from simflow.evaluate.provenance import ROUNDING
from simflow.evaluate.remembering import Nearest, memorisation
from simflow.evaluate.scores import Scores, no_bound
from simflow.evaluate.shards import Shards, make, sampling_of
from simflow.evaluate.shares import apportioned, counts_of, notes
from simflow.evaluate.unseen import likelihood, reconstruction
from simflow.files import replacing
from simflow.model import Facts, Model
from simflow.pipeline import Pipeline
from simflow.places import find
from simflow.sample import SampleConfig
from simflow.shapes import NULL
from simflow.tensors import sha256_of_tensors
from simflow.train.checkpoint import step_behind


def judge_run(
    arguments: Arguments, source: str, out: Path, config: GenerationConfig, desk: Desk, console: Console
) -> dict[str, Any]:
    """The record of a run; pictures and samples are written into ``out``. Collective.

    Raises:
        ValueError: there is no run, a file or image set is missing, or there are too few images.
    """
    extractors = choose(arguments.extractor)
    by = None
    if arguments.nearest_by != "pixels":
        named = {one.identity.name: one for one in extractors.extractors}
        if arguments.nearest_by not in named:
            raise ValueError(f"--nearest-by is pixels or one of the extractors, not {arguments.nearest_by}")
        by = named[arguments.nearest_by]
    pipe = Pipeline.from_pretrained(source, which=arguments.which).to(desk.device)
    data = replace(pipe.config.data, flip=False)
    if arguments.data is not None:
        data = replace(data, path=arguments.data)
    else:
        check_data(data)
    train = load_showing(data, console)
    unseen, unseen_called = held_out(replace(pipe.config, data=data), None, None)
    foreign = foreign_images(arguments, replace(pipe.config, data=replace(data, fit="crop", hold_out=0.0)))
    seen, unseen = train.once(), unseen.once()
    alike = ", one of each that are alike" if len(seen) < len(train) else ""
    whole = reference_of(arguments, seen, f"{data.path} ({data.split or 'all images'}{alike})", console)
    real = whole._replace(pictures=whole.pictures and limited(whole.pictures, arguments.reference_num))
    apart = unseen.fingerprint != train.fingerprint
    check_beforehand(arguments, extractors, real, pipe.model.facts)
    if arguments.nearest and not apart and len(seen) < 2:
        raise ValueError(
            f"{data.path} has one image and none held out, so there are no others for it to be compared with; "
            "--nearest 0 leaves the nearest training images out"
        )
    perceptual, no_distance = distance_of(arguments)

    how = way_of(arguments, pipe, source)
    desk = replace(desk, model_batch=min(desk.model_batch, how.batch))
    followed = whole.pictures or seen
    counts = frequencies(arguments, pipe.model.facts, followed)
    samples, sampled = sampled_images(arguments, pipe, how, counts, source, out, desk)
    figures, left_out = generation(extractors.extractors, samples, real, config, desk)
    by_class, no_classes = classes(samples, seen, unseen if apart else None)
    fit = data.fit if arguments.reference is None else "crop"
    record: dict[str, Any] = {
        "run": run_of(source, pipe, arguments.which, sampled.pop("sha256")),
        "samples": sampled | described(samples),
        "reference": {"source": real.source} | described(real.pictures, fit=fit),
        "held_out": {"source": unseen_called} | described(unseen, fit=data.fit),
        "generation": figures,
        "classes": by_class,
        "notes": notes(samples, followed, told="; --labels data draws them as often"),
        "left_out": extractors.left_out + left_out + no_classes,
        "files": {},
    }
    page = Page(folder=out, name=arguments.name, record=record)
    if not apart:
        page.leave_out(NONE_HELD_OUT)
    if distributed.is_main():
        page.keep("samples", sheet_of(samples, pipe.model.facts))
        page.keep("real", real_sheet(unseen, pipe.model.facts))
    if arguments.nearest:
        near = Nearest(samples=arguments.nearest)
        held, mirrored = unseen if apart else None, pipe.config.data.flip
        record["neighbours"], picture = memorisation(
            samples, train if apart else seen, held, near, desk, by=by, mirrored=mirrored
        )
        page.keep("neighbours", picture)
    numbers = spread(len(unseen), arguments.held_out)
    table: dict[str, torch.Tensor] = {}
    if arguments.reconstruction:
        page.leave_out(*no_distance)
        table |= add_reconstruction(
            page, pipe.model, unseen, numbers, extractors.extractors, perceptual, desk
        )
    if arguments.likelihood:
        table |= add_likelihood(page, pipe.model, seen, unseen, numbers, foreign, desk)
    if arguments.per_image and distributed.is_main():
        with replacing(page.file("per_image", "npz")) as part, part.open("wb") as opened:
            table |= {"number": unseen.numbers[numbers], "label": unseen.labels[numbers]}
            arrays = {name: values.numpy() for name, values in table.items()}
            np.savez(opened, **arrays)  # pyright: ignore[reportArgumentType]
    tell_unreadable(train, unseen)
    for others in (whole.pictures, *(images for images, _ in foreign.values())):
        tell_unreadable(others)
    return record


def check_beforehand(arguments: Arguments, extractors: Chosen, real: Real, facts: Facts) -> None:
    """Refuses what would be found only after all samples are made.

    Raises:
        ValueError: there will be too few samples, or there are too few real images or some of another size.
    """
    blank = torch.zeros(1, facts.channels, facts.image_size, facts.image_size, dtype=torch.uint8)
    require_same_size(Held(pixels=blank, labels=torch.tensor([NULL])), real)
    for extractor in extractors.extractors:
        if real.pictures is not None or (real.archive is not None and real.archive.serves(extractor)):
            count = None if real.pictures is None else len(real.pictures)
            try:
                require_enough(extractor.identity, arguments.num, count)
            except ValueError as error:
                raise ValueError(f"{error}; --extractor none leaves it out") from error


def distance_of(arguments: Arguments) -> tuple[Judge | None, list[str]]:
    """The perceptual distance of reconstructions, if they are asked for; and a sentence if it cannot be had.

    Raises:
        ValueError: a file of LPIPS is missing or holds something else.
    """
    if not arguments.reconstruction:
        return None, []
    try:
        return judge(arguments.lpips, weights=arguments.lpips_weights, heads=arguments.lpips_heads), []
    except Missing as error:
        return None, [str(error)]


def reference_of(arguments: Arguments, train: ImageSet, called: str, console: Console) -> Real:
    """The images that samples are compared with: the run's own training images, unless others are named."""
    if arguments.reference is None:
        return Real(train, None, called)
    return real_images(arguments.reference, size=train.image_size, limit=None, console=console)


def way_of(arguments: Arguments, pipe: Pipeline, source: str) -> SampleConfig:
    """How to sample: the run's own way, with what the flags change."""
    config = changed(pipe.config.sample, arguments.how, pipe.model)
    return sped(config, arguments.speed, model=pipe.model, source=source)


def frequencies(arguments: Arguments, facts: Facts, real: Pictures) -> list[int] | None:
    """How many real images each class has, for ``--labels data``; None for others.

    Raises:
        ValueError: the model has no classes, or the real images have none or others.
    """
    if arguments.labels != "data":
        return None
    if not facts.class_names:
        raise ValueError(
            "--labels data draws classes as often as real images have them, and this model has none"
        )
    counts = counts_of(real, facts.class_names)
    if counts is None:
        raise ValueError(
            "--labels data draws classes as often as real images have them, and these have not the model's classes"
        )
    return counts


def sampled_images(
    arguments: Arguments,
    pipe: Pipeline,
    config: SampleConfig,
    counts: list[int] | None,
    source: str,
    out: Path,
    desk: Desk,
) -> tuple[Shards, dict[str, Any]]:
    """Samples in ``out/samples/NAME``, of classes as frequent as these ``counts`` if there are any, and how they were
    made."""
    seeds, facts = range(arguments.num), pipe.model.facts
    made: dict[str, Any] = {
        "sha256": sha256_of_tensors(pipe.model.state_dict()),
        "labels": arguments.labels,
    }
    if counts is None:
        labels = labels_for(arguments.labels, facts, seeds)
    else:
        labels = apportioned(counts, arguments.num)
        made["real_by_class"] = [list(pair) for pair in zip(facts.class_names, counts, strict=True)]
    with desk.counting("sampling", len(seeds)) as count:
        samples = make(
            pipe.model,
            out / "samples" / arguments.name,
            seeds=seeds,
            labels=labels,
            config=config,
            record=made,
            on_progress=count,
        )
    return samples, made | drawn_by(source, config, arguments.num)


def drawn_by(source: str, config: SampleConfig, count: int) -> dict[str, Any]:
    """How the samples of a run are drawn: this many, of the first seeds."""
    return {
        "source": f"sampled by {source}",
        "sampling": sampling_of(config),
        "seeds": f"0-{count - 1}",
        "guidance": None if config.guidance is None else config.guidance.weight,
        "rounding": ROUNDING,
    }


def run_of(source: str, pipe: Pipeline, which: str, sha256: str) -> dict[str, Any]:
    """Which weights of which run."""
    return {
        "path": source,
        "recipe": pipe.config.name,
        "step": step_behind(find(source)),
        "weights": which,
        "sha256": sha256,
        "parameters": sum(parameter.numel() for parameter in pipe.model.parameters()),
    }


def add_reconstruction(
    page: Page,
    model: Model,
    unseen: ImageSet,
    numbers: torch.Tensor,
    extractors: Sequence[Extractor],
    perceptual: Judge | None,
    desk: Desk,
) -> dict[str, torch.Tensor]:
    """Adds the reconstruction's figures and picture; gives the figures of each image."""
    rebuilt = reconstruction(model, unseen, numbers, extractors, perceptual, desk)
    for name in ("SSIM", "MS-SSIM", perceptual.name if perceptual else "SSIM"):
        if name not in rebuilt.table:
            page.leave_out(
                f"{name} of reconstructions: images of {unseen.image_size} px are too small for it"
            )
    found = {figure["name"] for figure in rebuilt.record["figures"]}
    for extractor in extractors:
        if (name := f"r{extractor.identity.frechet}") not in found:
            called = unseen_of(page.record)
            page.leave_out(f"{name}: it takes at least {LEAST} images, and there are {len(numbers)} {called}")
    page.record["reconstruction"] = rebuilt.record
    page.keep("reconstructions", pairs_of(rebuilt.originals, rebuilt.images))
    return rebuilt.table


def foreign_images(arguments: Arguments, config: RunConfig) -> dict[str, tuple[Pictures, torch.Tensor]]:
    """The images of ``--ood`` by their name, and which of them to use; cropped and resized to the model's size.

    Raises:
        ValueError: nothing is there.
    """
    if arguments.ood is None:
        return {}
    images, called = held_out(config, arguments.ood, None)
    return {called: (images, spread(len(images), arguments.held_out))}


def add_likelihood(
    page: Page,
    model: Model,
    train: ImageSet,
    unseen: ImageSet,
    numbers: torch.Tensor,
    foreign: dict[str, tuple[Pictures, torch.Tensor]],
    desk: Desk,
) -> dict[str, torch.Tensor]:
    """Adds the likelihood's figures; gives the scores of each held-out image, none if the model has no bound."""
    why = no_bound(model)
    if why is not None:
        page.leave_out(f"likelihood: {why}")
        return {}
    page.record["likelihood"], found = likelihood(model, train, unseen, numbers, foreign, desk)
    return columns(found["held out"])


def columns(scores: Scores) -> dict[str, torch.Tensor]:
    """Scores by name, bits per dimension."""
    return {f"bits_{name}" if name != "bits" else name: values for name, values in vars(scores).items()}


def real_sheet(unseen: ImageSet, facts: Facts) -> Image.Image:
    """Held-out images laid out as samples are: evenly spread ones of each of the first classes or families."""
    named = replace(facts, class_names=unseen.class_names)
    rows = [(NULL,), *named.families.values()]
    members = [torch.nonzero(torch.isin(unseen.labels, torch.tensor(own))).flatten() for own in rows]
    members = [own for own in members if len(own)][:ROWS]
    limit = COLUMNS * ROWS if unseen.labels.eq(NULL).all() else COLUMNS
    shown = torch.cat([own[spread(len(own), limit)] for own in members])
    return sheet(unseen.images(shown), unseen.labels[shown].tolist(), named)
