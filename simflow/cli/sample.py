"""``simflow sample RUN``: images of seeds and classes as PNG files, a sheet and, if asked, an npz archive."""

import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from unicodedata import normalize

import torch
from PIL.Image import Image
from tyro.conf import OmitArgPrefixes, Positional, arg

from simflow import distributed
from simflow.alone import alone_in
from simflow.cli.bars import counting
from simflow.cli.npz_stream import npz_stream
from simflow.cli.pictures import chosen, sheet
from simflow.cli.sample_folder import left, making, read_back, require_own, there
from simflow.cli.sampling import Flags, changed
from simflow.cli.shared_arguments import Device, Which
from simflow.cli.speed import Speed, sped
from simflow.cli.strips import before_and_after, guidance_sweep, through_the_blocks
from simflow.cli.talk import talking
from simflow.cli.words import check_count, parse_numbers, parse_seeds, refuse_settings, require_least
from simflow.data.source import distinct
from simflow.evaluate.shards import RECORD
from simflow.export import save_picture, save_png_folder
from simflow.files import require_writable, write_json
from simflow.flow.decode import SEQUENTIAL
from simflow.model import Facts, Model
from simflow.pipeline import Pipeline
from simflow.pixels import Bytes
from simflow.sample import Rule, SampleConfig, guided, sample_all
from simflow.shapes import NULL
from simflow.turns import label_of

logger = logging.getLogger("simflow")

CHECKPOINTS = "checkpoints"

PART = re.compile(rf"best|{CHECKPOINTS}|step-\d+|seed-\d+")
"""What the parts of a run are called, and the runs of a study."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Samples images with a trained run.

    Image files are named by their seeds. A seed gives the same image at any batch size and with any number of
    processes (torchrun shares the seeds out), and its class is seed modulo the number of classes asked for, so
    that a range of seeds is balanced; a family (of classes called family/class) counts as one, and its classes take
    turns. Images are written as they come; labels.csv comes last, and a folder that has it is complete. The same
    command again goes on where it was, and one for other seeds adds to what is there. A folder with images of other
    weights, settings or classes is refused (samples.json in it says what made them), and so is one with files that did
    not come from here.
    """

    run: Positional[str]
    """A run folder (its newest checkpoint), a checkpoint folder, a saved model, the name of a model that comes with the
    package (simflow recipes lists them), or owner/name on the hub."""
    labels: str = "all"
    """Classes: names or numbers with commas, "all" in turn, or "none" for unconditional samples. Numbers count from 0;
    where classes are called by numbers, they are names. A family stands for all classes called family/class;
    "families" is each of them in turn."""
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
    samples/NAME if not given, where NAME is that of the run, with -best, -step-0001000 or the like for a part."""
    replace: bool = False
    """Remove the samples that are in the folder, and make these."""
    trajectory: bool = False
    """Also draw trajectory.png: the first ten samples through the blocks of the flow."""
    sweep: str | None = None
    """Also draw sweep.png: the first ten samples at strengths of guidance such as 0,0.5,1,2, decoded exactly."""
    npz: Path | None = None
    """Also write an archive as guided-diffusion's evaluator reads it."""
    which: Which = "ema"
    device: Device = "auto"


def run(arguments: Arguments, settings: Mapping[str, Any]) -> int:
    """Samples and writes."""
    refuse_settings(settings, "sample")
    seeds = seeds_of(arguments)
    weights = [] if arguments.sweep is None else parse_numbers(arguments.sweep or "0")
    out = place(arguments.run) if arguments.out is None else arguments.out
    if arguments.npz is not None and arguments.npz.suffix != ".npz":
        raise ValueError(f"the name after --npz must end in .npz, and {arguments.npz} does not")
    with distributed.launch(arguments.device) as device, talking() as console:
        distributed.from_main(partial(require_own, out))
        pipe = Pipeline.from_pretrained(arguments.run, which=arguments.which).to(device)
        facts = replace(pipe.model.facts, class_names=distinct(pipe.model.facts.class_names))
        config = changed(pipe.config.sample, arguments.how, pipe.model)
        rules = {weight: guided(config.guidance, pipe.model, weight=weight) for weight in weights}
        check_pictures(arguments, config, pipe.model)
        labels = labels_for(arguments.labels, facts, seeds)
        config = sped(config, arguments.speed, model=pipe.model, source=arguments.run)
        if arguments.npz is not None:
            distributed.from_main(partial(require_writable, arguments.npz))
        made = making(pipe.model, config, labels=arguments.labels)
        busy = f"another process is sampling into '{out}': wait for its end, or give another --out"
        with alone_in(out, busy):
            found = distributed.from_main(partial(there, out, made, replace=arguments.replace))
            classes_of = partial(labels_for, arguments.labels, facts)
            with counting(console, "sampling", len(seeds)) as count:
                together = fill(out, made, pipe.model, seeds, found, classes_of, config, facts, count)
            if distributed.is_main():
                classes = classes_of(together)
                shown = chosen(classes, facts)
                images = torch.cat(list(read_back(out, [together[i] for i in shown], facts)))
                save_picture(sheet(images, [classes[i] for i in shown], facts), out / "grid.png")
                for name, picture in pictures(arguments, pipe.model, seeds, labels, config, rules):
                    save_picture(picture, out / name)
                print(f"{len(together)} images in {out}, a sheet of them in {out / 'grid.png'}")
                if arguments.npz is not None:
                    with npz_stream(arguments.npz, labels, side=facts.image_size) as append:
                        for batch in read_back(out, seeds, facts):
                            append(batch)
                    print(f"archive {arguments.npz}")
        distributed.barrier()
    return 0


def fill(
    folder: Path,
    made: dict[str, Any],
    model: Model,
    seeds: Sequence[int],
    found: Sequence[int],
    classes_of: Callable[[Sequence[int]], list[int]],
    config: SampleConfig,
    facts: Facts,
    on_progress: Callable[[int], None],
) -> list[int]:
    """Makes the images of these seeds that are not yet ``found`` in a folder, and lists all; collective.

    Args:
        folder: for samples, held by this process.
        made: what makes them, as the folder says it.
        model: with the weights to sample from.
        seeds: asked for.
        found: seeds whose images are there and of the same kind.
        classes_of: the label of each seed.
        config: how to sample.
        facts: with the names of the classes.
        on_progress: called with numbers of images that are there or that this rank has made.

    Returns:
        The seeds of all images that are there, ascending.
    """
    missing = left(seeds, found, together=config.batch * distributed.world())
    done = len(seeds) - len(missing)
    if done and distributed.is_main():
        logger.info("going on with %s: %d of %d images are there", folder, done, len(seeds))
    on_progress(done // distributed.world())
    together = sorted({*found, *seeds})
    batches = shared_out(model, missing, classes_of(missing), config, on_progress)
    if distributed.is_main():
        write_json(folder / RECORD, made)
        listed = dict(zip(together, classes_of(together), strict=True))
        labels, names = classes_of(missing), facts.class_names
        save_png_folder(batches, labels, missing, folder, class_names=names, listed=listed)
    else:
        for _ in batches:
            pass
    return together


def place(run: str) -> Path:
    """Where samples go if nothing is said: a folder called as the run, and as the part of it that is meant.

    >>> place("runs/demo/"), place("owner/name")
    (PosixPath('samples/demo'), PosixPath('samples/name'))
    >>> place("runs/demo/best"), place("runs/demo/checkpoints/step-0001000"), place("runs/std-0.5/seed-0")
    (PosixPath('samples/demo-best'), PosixPath('samples/demo-step-0001000'), PosixPath('samples/std-0.5-seed-0'))
    """
    path = Path(os.path.abspath(run))
    names = [path.name]
    while PART.fullmatch(path.name) and path.parent.name:
        path = path.parent
        names.insert(0, path.name)
    return Path("samples") / "-".join(name for name in names if name != CHECKPOINTS or name == names[-1])


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
    """The class of each seed: the classes named, in turn, ``seed % number of them``; of a family, its classes in turn.

    A seed has the same class whatever other seeds are made with it, and a range of seeds has as many of each
    class as can be.

    Args:
        text: ``all``, ``families`` (one class of each in turn), ``none`` (no class), or names or numbers with commas.

    >>> bags = Facts(image_size=8, channels=1, class_names=("bag", "boot", "coat"))
    >>> labels_for("coat,0", bags, range(4, 8)), labels_for("all", bags, [0, 1, 2, 3])
    ([2, 0, 2, 0], [0, 1, 2, 0])

    Raises:
        ValueError: there is no such class.
    """
    if text == "all":
        chosen = [(label,) for label in range(len(facts.class_names))] or [(NULL,)]
    elif text == "none":
        chosen = [(NULL,)]
    elif text == "families" and facts.class_names:
        chosen = [facts.turns_of(family) for family in facts.families]
    else:
        known = (*facts.class_names, *facts.families)
        names = names_in(text, known)
        require_names(names, known)
        chosen = facts.choices_of(names)
    return [label_of(chosen, seed) for seed in seeds]


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
