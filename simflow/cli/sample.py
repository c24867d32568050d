"""``simflow sample RUN``: images of seeds and classes as PNG files, a sheet and, if asked, an npz archive."""

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal
from unicodedata import normalize

import torch
from PIL.Image import Image
from tyro.conf import OmitArgPrefixes, Positional, arg

from simflow import distributed
from simflow.cli.bars import counting
from simflow.cli.interrupted import finish, making, noting, read_back, there
from simflow.cli.npz_stream import npz_stream
from simflow.cli.pictures import chosen, sheet
from simflow.cli.sampling import Flags, changed
from simflow.cli.speed import Speed, sped
from simflow.cli.strips import before_and_after, guidance_sweep, through_the_blocks
from simflow.cli.talk import talking
from simflow.cli.words import check_count, parse_numbers, parse_seeds, refuse_settings, require_least
from simflow.data.source import distinct
from simflow.export import clear_png_folder, save_picture, save_png_folder
from simflow.flow.decode import SEQUENTIAL
from simflow.model import Facts, Model
from simflow.pipeline import Pipeline
from simflow.pixels import Bytes
from simflow.sample import Rule, SampleConfig, guided, sample_all
from simflow.shapes import NULL

logger = logging.getLogger("simflow")


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Samples images with a trained run.

    Image files are named by their seeds. A seed gives the same image at any batch size and with any number of
    processes (torchrun shares the seeds out), and its class is seed modulo the number of classes asked for, so
    that a range of seeds is balanced. Images are written as they come; labels.csv comes last, and a folder that has
    it is complete. The same command again goes on with a folder that is not, and makes one that is anew, with the same
    images; a different command writing to the same folder removes earlier images that it does not make itself.
    """

    run: Positional[str]
    """A run folder (its newest checkpoint), a checkpoint folder, a saved model, the name of a model that comes with the
    package (simflow recipes lists them), or owner/name on the hub."""
    labels: str = "all"
    """Classes: names or numbers with commas, "all" in turn, or "none" for unconditional samples. Numbers count from 0;
    where classes are called by numbers, they are names."""
    num: Annotated[int | None, arg(aliases=["-n"])] = None
    """How many images; 100, or one for each seed. Under torchrun write -n, because torchrun reads
    --num as one of its own options."""
    seeds: str | None = None
    """Seeds such as 0-999 or 3,7,20-29; from 0 on if not given."""
    how: OmitArgPrefixes[Flags]
    """The way of sampling."""
    speed: OmitArgPrefixes[Speed]
    """How fast, and how near to exact."""
    out: Path | None = None
    """Folder for grid.png, the PNG files and labels.csv; with --denoise also denoise.png, before and after.
    samples/NAME if not given, where NAME is the last part of the run's."""
    trajectory: bool = False
    """Also draw trajectory.png: the first ten samples through the blocks of the flow."""
    sweep: str | None = None
    """Also draw sweep.png: the first ten samples at strengths of guidance such as 0,0.5,1,2, decoded exactly."""
    npz: Path | None = None
    """Also write an archive as guided-diffusion's evaluator reads it."""
    which: Literal["ema", "model"] = "ema"
    """Averaged or raw weights."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""


def run(arguments: Arguments, settings: Mapping[str, Any]) -> int:
    """Samples and writes."""
    refuse_settings(settings, "sample")
    seeds = seeds_of(arguments)
    weights = [] if arguments.sweep is None else parse_numbers(arguments.sweep or "0")
    out = place(arguments.run) if arguments.out is None else arguments.out
    if arguments.npz is not None and arguments.npz.suffix != ".npz":
        raise ValueError(f"the name after --npz must end in .npz, and {arguments.npz} does not")
    with distributed.launch(arguments.device) as device, talking() as console:
        pipe = Pipeline.from_pretrained(arguments.run, which=arguments.which).to(device)
        facts = replace(pipe.model.facts, class_names=distinct(pipe.model.facts.class_names))
        config = changed(pipe.config.sample, arguments.how, pipe.model)
        rules = {weight: guided(config.guidance, pipe.model, weight=weight) for weight in weights}
        check_pictures(arguments, config, pipe.model)
        labels = labels_for(arguments.labels, facts, seeds)
        config = sped(config, arguments.speed, model=pipe.model, source=arguments.run)
        shown = chosen(labels)
        kept: list[Bytes] = []
        made = making(pipe.model, config, labels=arguments.labels, seeds=arguments.seeds)
        together = config.batch * distributed.world()
        found = distributed.from_main(partial(there, out, made, len(seeds), together=together))
        if found and distributed.is_main():
            logger.info("going on with %s: %d of %d images are there", out, found, len(seeds))
        with counting(console, "sampling", len(seeds)) as count, ExitStack() as open_files:
            count(found // distributed.world())
            batches = shared_out(pipe.model, seeds[found:], labels[found:], config, count)
            if distributed.is_main():
                clear_png_folder(out, seeds)
                before = read_back(out, seeds[:found], facts)
                batches = chain(before, noting(batches, out, made, done=found))
                if arguments.npz is not None:
                    stream = npz_stream(arguments.npz, labels, side=facts.image_size)
                    batches = passing(batches, open_files.enter_context(stream))
                batches = keeping(batches, kept, shown)
                save_png_folder(batches, labels, seeds, out, class_names=facts.class_names)
                finish(out)
            else:
                for _ in batches:
                    pass
        if distributed.is_main():
            images = torch.cat(kept)
            save_picture(sheet(images, [labels[i] for i in shown], facts), out / "grid.png")
            for name, picture in pictures(arguments, pipe.model, seeds, labels, config, rules):
                save_picture(picture, out / name)
            print(f"{len(seeds)} images in {out}, a sheet of them in {out / 'grid.png'}")
            if arguments.npz is not None:
                print(f"archive {arguments.npz}")
        distributed.barrier()
    return 0


def place(run: str) -> Path:
    """Where samples go if nothing is said: a folder with the last part of the run's name.

    >>> place("runs/demo/"), place("owner/name")
    (PosixPath('samples/demo'), PosixPath('samples/name'))
    """
    return Path("samples") / os.path.basename(os.path.abspath(run))


def check_pictures(arguments: Arguments, config: SampleConfig, model: Model) -> None:
    """Refuses what the prior cannot do, before it samples.

    Raises:
        ValueError: there is a score step and no density, or a picture of blocks is asked for and there are none.
    """
    name = type(model.prior).__name__
    if arguments.trajectory and not model.prior.by_blocks:
        raise ValueError(
            f"--trajectory shows the blocks of a prior, and this model's, {name}, has none to undo"
        )
    if config.refinement is not None and not model.prior.has_density:
        raise ValueError(
            f"--denoise and --gamma are score steps, and this model's prior, {name}, has no density to take them on"
        )


def pictures(
    arguments: Arguments,
    model: Model,
    seeds: Sequence[int],
    labels: Sequence[int],
    config: SampleConfig,
    rules: Mapping[float, Rule | None],
) -> Iterator[tuple[str, Image]]:
    """The further pictures that were asked for, with their names."""
    if arguments.trajectory:
        yield "trajectory.png", through_the_blocks(model, seeds, labels, config)
    if arguments.how.denoise is not None and config.refinement is not None:
        yield "denoise.png", before_and_after(model, seeds, labels, config)
    if arguments.sweep is not None:
        exact = replace(config, decoding=SEQUENTIAL)  # a plan keeps its bound at the guidance that it is for
        yield "sweep.png", guidance_sweep(model, seeds, labels, exact, rules)


def seeds_of(arguments: Arguments) -> list[int]:
    """The seeds asked for.

    Raises:
        ValueError: no image is asked for, or ``--num`` and ``--seeds`` disagree.
    """
    require_least(arguments, {"num": 1})
    check_count("--num", arguments.num, arguments.num or 0)
    if arguments.seeds is None:
        return list(range(arguments.num or 100))
    seeds = parse_seeds(arguments.seeds)
    if arguments.num is not None and arguments.num != len(seeds):
        raise ValueError(
            f"--seeds {arguments.seeds} are {len(seeds)} images, and --num asks for {arguments.num}"
        )
    if len(set(seeds)) != len(seeds):
        raise ValueError(f"a seed occurs twice in --seeds {arguments.seeds}")
    return seeds


def labels_for(text: str, facts: Facts, seeds: Sequence[int]) -> list[int]:
    """The class of each seed: the classes named, in turn, ``seed % number of them``.

    A seed has the same class whatever other seeds are made with it, and a range of seeds has as many of each
    class as can be.

    Args:
        text: ``all``, ``none`` (no class), or names or numbers with commas.

    >>> bags = Facts(image_size=8, channels=1, class_names=("bag", "boot", "coat"))
    >>> labels_for("coat,0", bags, range(4, 8)), labels_for("all", bags, [0, 1, 2, 3])
    ([2, 0, 2, 0], [0, 1, 2, 0])

    Raises:
        ValueError: there is no such class.
    """
    if text == "all":
        chosen = list(range(len(facts.class_names))) or [NULL]
    elif text == "none":
        chosen = [NULL]
    else:
        names = names_in(text, facts.class_names)
        require_names(names, facts.class_names)
        chosen = facts.labels_of(names)
    return [chosen[seed % len(chosen)] for seed in seeds]


def require_names(names: Sequence[str], known: Sequence[str]) -> None:
    """Refuses the number of a class where classes are called by numbers: it would be another than the one named so.

    Raises:
        ValueError: there are such classes, and a number is none of them.
    """
    if any(name.isdecimal() for name in known):
        for name in names:
            if name.isdecimal() and name not in known:
                raise ValueError(
                    f"there is no class '{name}': the classes are called by numbers, {', '.join(known[:20])}"
                )


def names_in(text: str, known: Sequence[str]) -> list[str]:
    """The names that stand in a text with commas, where a known name may have commas itself: the longest counts.

    >>> names_in("shoes, old, 3,boot", ["boot", "shoes", "shoes, old"])
    ['shoes, old', '3', 'boot']
    """
    composed = {normalize("NFC", name) for name in known}
    longest = 1 + max((name.count(",") for name in composed), default=0)
    parts, names = normalize("NFC", text).split(","), []
    while parts:
        tried = ((size, ",".join(parts[:size]).strip()) for size in range(longest, 1, -1))
        size, name = next((pair for pair in tried if pair[1] in composed), (1, parts[0].strip()))
        names.append(name)
        parts = parts[size:]
    return names


def shared_out(
    model: Model,
    seeds: Sequence[int],
    labels: Sequence[int],
    config: SampleConfig,
    on_progress: Callable[[int], None] = lambda images: None,
) -> Iterator[Bytes]:
    """All images in the order of their seeds, on every rank, each batch sampled by all ranks together.

    ``on_progress`` is called with the number of images that this rank has made since the last call.
    """
    rank, together = distributed.rank(), config.batch * distributed.world()
    for start in range(0, len(seeds), together):
        own = slice(start + rank * config.batch, start + (rank + 1) * config.batch)
        images = sample_all(model, seeds=seeds[own], labels=labels[own], config=config)
        on_progress(len(seeds[own]))
        yield distributed.gather_tensors(images.to(model.device)).cpu()


def passing(batches: Iterator[Bytes], take: Callable[[Bytes], None]) -> Iterator[Bytes]:
    """Passes batches on and shows each to ``take``."""
    for batch in batches:
        take(batch)
        yield batch


def keeping(batches: Iterator[Bytes], kept: list[Bytes], numbers: Sequence[int]) -> Iterator[Bytes]:
    """Passes batches on and adds the images of these numbers, which ascend, to ``kept``."""
    start = 0
    for batch in batches:
        kept.append(batch[[number - start for number in numbers if start <= number < start + len(batch)]])
        yield batch
        start += len(batch)
