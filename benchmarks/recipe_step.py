"""The training step of a whole system: ``python -m benchmarks training --recipe simflow-xxl --data-shape 256``.

It is the library's own step (:func:`simflow.train.step.train_step`) on random images: autoencoder, posterior noise,
flow, losses, gradients, clipping, AdamW, average; the discriminator plays from the first step, where there is one.
Losses are those of the recipe ("all"), or its reconstruction and prior alone ("plain").

Model arithmetic is counted as one step runs (:func:`benchmarks.arithmetic.counted_flop`), on few images and without
recomputing, for it is proportional to the images; attention in full. ``of the matmul rate`` is that arithmetic over the
time of the step over the measured rate of a large matrix product in the same precision.

A prior that learns alone behind a frozen encoder is timed both ways in turn: with images that are encoded in the step
(codes "fresh"), and with codes that were made before it ("kept", :mod:`simflow.train.codes`).

``--largest`` looks for the largest batch that fits, by doubling and then halving the gap; on a GPU only, where a batch
that does not fit is an error that can be caught. The process must have the GPU for itself.
"""

import gc
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial

import torch

from benchmarks.arithmetic import counted_flop
from benchmarks.contest import fits
from benchmarks.measure import interleaved
from benchmarks.subject import Record, Setting
from simflow import recipes
from simflow.autoencoder.kl import KLConfig
from simflow.config import RunConfig
from simflow.data.loader import Batch
from simflow.fitting import initial
from simflow.flow.stack import FlowConfig
from simflow.model import Facts
from simflow.precision import computing_in, network_dtype
from simflow.seeding import generator
from simflow.train.codes import code_shape
from simflow.train.loop import adversary_of, begin, wrap
from simflow.train.step import train_step

COUNTED = 2
"""Images of the step whose arithmetic is counted."""


def add_arguments(parser: ArgumentParser) -> None:
    """The recipe and its variants."""
    parser.add_argument("--recipe", help="time the training step of a recipe, on random images")
    parser.add_argument(
        "--data-shape", type=int, metavar="SIDE", help="side of the images, if not the recipe's"
    )
    parser.add_argument("--losses", nargs="+", choices=("plain", "all"), default=["plain", "all"])
    parser.add_argument("--checkpointing", nargs="+", choices=("off", "on"), default=["off", "on"])
    parser.add_argument(
        "--largest", action="store_true", help="the largest batch that fits, up to --limit (GPU)"
    )
    parser.add_argument("--limit", type=int, default=512, help="largest batch that --largest tries")


def measure(chosen: Namespace, setting: Setting) -> Iterator[Record]:
    """A record for each batch of each variant of the recipe.

    Raises:
        ValueError: there is no such recipe, or ``--largest`` without a GPU.
    """
    if chosen.largest and setting.device.type != "cuda":
        raise ValueError("--largest needs a GPU: without one a batch that does not fit ends the process")
    for losses in chosen.losses:
        flop = None
        for checkpointing in chosen.checkpointing:
            what = f"{chosen.recipe}, {losses} losses, checkpointing {checkpointing}"
            if setting.deadline.forgoes(what):
                continue
            config = variant(chosen.recipe, side=chosen.data_shape, losses=losses, dtype=setting.dtype)
            ways = {"fresh": config}
            if config.objective.needs_only_codes and not chosen.largest:
                ways["kept"] = replace(config, train=replace(config.train, codes="kept"))
            flop = flop or {name: flop_of_an_image(way, setting) for name, way in ways.items()}
            steps = {}
            for name, way in ways.items():
                way = replace(way, train=replace(way.train, compile=chosen.compile))
                steps[name] = RecipeStep(recomputing(way) if checkpointing == "on" else way, setting)
            batches = [biggest(steps["fresh"], chosen.limit, setting)] if chosen.largest else chosen.batch
            for images in batches:
                for record in timed(steps, images, flop, setting):
                    yield record | {
                        "recipe": chosen.recipe,
                        "side": config.data.image_size,
                        "losses": losses,
                        "checkpointing": checkpointing,
                        "compiled": chosen.compile,
                        "largest": chosen.largest,
                    }
            del steps
            empty(setting)


def variant(name: str, *, side: int | None, losses: str, dtype: str) -> RunConfig:
    """The recipe at another side, all players from the first step, or without judging networks; shown images."""
    config = recipes.get(name)
    objective = config.objective
    if losses == "plain":
        objective = replace(objective, perceptual=None, adversarial=None)
    elif objective.adversarial is not None:
        objective = replace(objective, adversarial=replace(objective.adversarial, start_step=0, head_start=0))
    return replace(
        config,
        data=replace(config.data, image_size=side or config.data.image_size),
        objective=objective,
        train=replace(config.train, dtype=dtype, codes="fresh"),
    )


def recomputing(config: RunConfig) -> RunConfig:
    """The same with activations recomputed in the backward pass: in the prior, and in a convolutional autoencoder."""
    prior, autoencoder = config.model.prior, config.model.autoencoder
    if isinstance(prior, FlowConfig):
        prior = replace(prior, block=replace(prior.block, checkpointing=True))
    else:
        prior = replace(prior, checkpointing=True)
    if isinstance(autoencoder, KLConfig):
        autoencoder = replace(autoencoder, checkpointing=True)
    return replace(config, model=replace(config.model, prior=prior, autoencoder=autoencoder))


class RecipeStep:
    """A fresh model of a recipe, its optimisers and its average; called with a batch it takes a step."""

    def __init__(self, config: RunConfig, setting: Setting, facts: Facts | None = None) -> None:
        """``facts`` are those of the data, or those that the recipe expects."""
        self.config, self.device = config, setting.device
        with setting.device:
            self.objective = initial(config, facts or config.expected_facts(), setting.device)
        self.state = begin(self.objective, config.train)
        self.wrapped = wrap(self.objective, config.train, world=1)
        self.adversary = adversary_of(self.objective, self.state, world=1)
        self.objective.train()

    def __call__(self, batch: Batch) -> None:
        train = self.config.train
        train_step(
            self.state,
            self.wrapped,
            self.objective.ready(batch.images),
            batch.labels,
            microbatch=train.microbatch or len(batch.images),
            clip=train.optimizer.clip,
            generator=generator(train.seed, "train", 0, self.state.step, device=self.device),
            autocast=computing_in(network_dtype(train.dtype), self.device),
            adversary=self.adversary,
        )

    def random(self, images: int) -> Batch:
        """Images of noise, or such codes, and labels, on the device."""
        facts = self.objective.model.facts
        shape = (images, facts.channels, facts.image_size, facts.image_size)
        numbers = torch.arange(images, device=self.device)
        labels = numbers % len(facts.class_names) if facts.class_names else torch.full_like(numbers, -1)
        if self.objective.coded:
            shape = (images, *code_shape(self.objective.model))
            return Batch(torch.randn(shape, dtype=torch.float16, device=self.device), labels)
        return Batch(torch.randint(256, shape, dtype=torch.uint8, device=self.device), labels)

    def forget_gradients(self) -> None:
        """What an interrupted step may have left behind."""
        for optimiser in self.state.optimizers.values():
            optimiser.zero_grad(set_to_none=True)


def flop_of_an_image(config: RunConfig, setting: Setting) -> float:
    """Operations of a training step, an image."""
    step = RecipeStep(config, setting)
    batch = step.random(COUNTED)
    flop = counted_flop(lambda: step(batch))
    del step
    empty(setting)
    return flop / COUNTED


def empty(setting: Setting) -> None:
    """Frees what was deleted: modules, optimisers and closures hold each other in circles."""
    gc.collect()
    setting.forget()


def biggest(step: RecipeStep, limit: int, setting: Setting) -> int:
    """The largest batch whose step fits into the memory of the device."""

    def tried(images: int) -> bool:
        if setting.deadline.forgoes(f"a batch of {images}"):
            return False
        done = fits(lambda: step(step.random(images)))
        if not done:
            step.forget_gradients()
            empty(setting)
        return done

    return largest(tried, limit)


def largest(fits: Callable[[int], bool], limit: int) -> int:
    """The largest number up to ``limit`` that fits, within a sixteenth of it; 0 if not even 1 does.

    >>> largest(lambda number: number <= 77, 512), largest(lambda number: True, 96), largest(lambda number: False, 8)
    (76, 96, 0)
    """
    low, high = 0, 1
    while fits(high):
        low, high = high, min(2 * high, limit)
        if low == limit:
            return limit
    while high - low > max(1, low // 16):
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def timed(
    steps: Mapping[str, RecipeStep], images: int, flop: Mapping[str, float], setting: Setting
) -> list[Record]:
    """All that is known of a batch, taken in some ways in turn; without a time it did not fit into memory."""
    empty(setting)
    cuda = setting.device.type == "cuda"
    runs: dict[str, Callable[[], object]] = {}
    memory: dict[str, float] = {}
    for name, step in steps.items() if images else ():
        if cuda:
            torch.cuda.reset_peak_memory_stats(setting.device)
        run = partial(step, step.random(images))
        if fits(run):
            runs[name] = run
            if cuda:
                memory[name] = torch.cuda.max_memory_allocated(setting.device) / 2**30
    times = interleaved(runs, rounds=setting.rounds, device=setting.device, deadline=setting.deadline)
    records = []
    for name in steps:
        timing = times.get(name)
        seconds = None if timing is None else timing.median
        rate = None if seconds is None else images * flop[name] / seconds
        records.append(
            {
                "way": f"step of {images}",
                "codes": name,
                "images": images,
                "precision": setting.dtype,
                "seconds": seconds,
                "rounds": [] if timing is None else timing.rounds,
                "of fresh": None if timing is None or "fresh" not in times else timing.ratio(times["fresh"]),
                "TFLOP an image": flop[name] / 1e12,
                "of the matmul rate": None if rate is None else rate / setting.ceilings.flops,
                "GiB at most": memory.get(name),
            }
        )
    return records


def row(record: Record) -> dict[str, str]:
    """A record as it is printed."""
    seconds, share, memory = record["seconds"], record["of the matmul rate"], record["GiB at most"]
    return {
        "recipe": f"{record['recipe']} at {record['side']} px",
        "losses": record["losses"],
        "checkpointing": record["checkpointing"],
        "codes": record["codes"],
        "images": f"{record['images']}{' (largest)' if record['largest'] else ''}",
        "ms": "out of memory" if seconds is None else f"{1e3 * seconds:.0f}",
        "of fresh": "" if record["of fresh"] is None else f"{record['of fresh']:.2f}",
        "images/s": "" if seconds is None else f"{record['images'] / seconds:.1f}",
        "TFLOP an image": f"{record['TFLOP an image']:.3f}",
        "of the matmul rate": "" if share is None else f"{share:.0%}",
        "GiB at most": "" if memory is None else f"{memory:.1f}",
    }
