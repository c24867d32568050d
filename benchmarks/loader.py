"""Do images come as fast as training takes them? ``python -m benchmarks loader``.

The path of an image is: read its file, decode, crop, mirror, batch, to floats, to the device; a thread prepares it
while the step before it runs. It is timed alone and under the training step of a recipe, from the two stores: *packed*,
all images decoded beforehand and held in memory, and *decoded anew*, each image decoded whenever it is wanted (files
may stay in the memory of the operating system). The stall is the part of the time of step and data together that the
step alone does not take.

Without ``--data`` the recipe's own images are used if they come with the package, and otherwise photographs of noise,
JPEG of 500 x 375 pixels, which take as long to decode as real ones of as many bytes.
"""

import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.measure import Timing, interleaved
from benchmarks.plots import Panel, bars_by
from benchmarks.recipe_step import RecipeStep, variant
from benchmarks.subject import Record, Setting
from simflow.config import RunConfig
from simflow.data.find import PREFIX
from simflow.data.images import ImageSet, load
from simflow.data.loader import Batch, batches
from simflow.fitting import facts_of

ABOUT: str = "images per second of the data path, and the stall of training"

WIDTH, HEIGHT, QUALITY = 500, 375, 90
"""Of a photograph of noise: about the mean size of ImageNet's."""
STORES = {"packed": float("inf"), "decoded anew": 0.0}
"""``cache_gib`` of each."""
STEP, WITH = "step alone", "step with its data"


def add_arguments(parser: ArgumentParser) -> None:
    """The images and who trains on them."""
    parser.add_argument("--data", type=Path, help="images, in any form that simflow reads")
    parser.add_argument("--recipe", default="demo", help="whose training step takes the images")
    parser.add_argument(
        "--data-shape", type=int, metavar="SIDE", help="side of the images, if not the recipe's"
    )
    parser.add_argument("--losses", choices=("plain", "all"), default="all")
    parser.add_argument("--batch", type=int, help="images per step, if not the recipe's")
    parser.add_argument("--steps", type=int, default=20, help="steps of a round")
    parser.add_argument("--workers", type=int, default=4, help="threads that decode")
    parser.add_argument("--photographs", type=int, default=512, help="how many are made, without --data")


def measure(chosen: Namespace, setting: Setting) -> Iterator[Record]:
    """A record for each store alone, for the step alone, and for each store under the step."""
    config = variant(chosen.recipe, side=chosen.data_shape, losses=chosen.losses, dtype=setting.dtype)
    batch = chosen.batch or config.train.batch
    with tempfile.TemporaryDirectory() as folder:
        path = where(chosen.data, config, Path(folder), chosen.photographs)
        data = replace(config.data, path=path, workers=chosen.workers)
        sets = {name: load(replace(data, cache_gib=limit)) for name, limit in STORES.items()}
        step = RecipeStep(config, setting, facts_of(config, next(iter(sets.values()))))
        runs = contestants(sets, step, setting, batch=batch, steps=chosen.steps, flip=data.flip)
        times = interleaved(runs, rounds=setting.rounds, device=setting.device, deadline=setting.deadline)
    for name, timing in times.items():
        yield {
            "recipe": config.name,
            "side": data.image_size,
            "images": batch,
            "set": len(next(iter(sets.values()))),
            "workers": chosen.workers,
            "way": name,
            "seconds": timing.median / chosen.steps,
            "rounds": [seconds / chosen.steps for seconds in timing.rounds],
            "images/s": batch * chosen.steps / timing.median,
            "stall": stall(timing, times[STEP]) if name.startswith(WITH) else None,
        }


def where(given: Path | None, config: RunConfig, folder: Path, photographs: int) -> str:
    """Where the images are: what the user names, what comes with the package, or what is made now in ``folder``."""
    if given is not None:
        return str(given)
    if config.data.path.startswith(PREFIX):
        return config.data.path
    make_photographs(folder, photographs)
    return str(folder)


def make_photographs(folder: Path, count: int) -> None:
    """JPEG files of coarse and fine noise."""
    random = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (HEIGHT // 25, WIDTH // 25, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), dtype=np.float32)
        grainy = smooth + random.normal(0, 10, smooth.shape)
        Image.fromarray(grainy.clip(0, 255).astype(np.uint8)).save(
            folder / f"{number:05}.jpg", quality=QUALITY
        )


def contestants(
    sets: dict[str, ImageSet], step: RecipeStep, setting: Setting, *, batch: int, steps: int, flip: bool
) -> dict[str, Callable[[], None]]:
    """Runs of ``steps`` batches: the data alone, the step alone, and both together."""
    still = step.random(batch)

    def stream(images: ImageSet) -> Iterator[Batch]:
        made = batches(images, batch=batch, seed=0, flip=flip, pin=setting.device.type == "cuda")
        try:
            for each in islice(made, steps):
                yield Batch(*(part.to(setting.device, non_blocking=True) for part in each))
        finally:
            made.close()

    def alone(images: ImageSet) -> None:
        for _ in stream(images):
            pass

    def together(images: ImageSet) -> None:
        for each in stream(images):
            step(each)

    def step_alone() -> None:
        for _ in range(steps):
            step(still)

    runs: dict[str, Callable[[], None]] = {STEP: step_alone}
    runs |= {f"data alone, {name}": partial(alone, images) for name, images in sets.items()}
    return runs | {f"{WITH}, {name}": partial(together, images) for name, images in sets.items()}


def stall(together: Timing, step: Timing) -> float:
    """The part of the time together that the step alone does not take: the median over rounds."""
    return 1 - step.ratio(together)


def row(record: Record) -> dict[str, str]:
    """A record as it is printed."""
    return {
        "recipe": f"{record['recipe']} at {record['side']} px",
        "batch": str(record["images"]),
        "what": record["way"],
        "ms a batch": f"{1e3 * record['seconds']:.1f}",
        "images/s": f"{record['images/s']:.0f}",
        "stall": "" if record["stall"] is None else f"{record['stall']:.1%}",
    }


def panels(records: Sequence[Record]) -> list[Panel]:
    """Milliseconds per batch, with images per second."""
    return bars_by(
        records,
        title=lambda each: f"{each['recipe']}, batches of {each['images']}",
        note=lambda each: f"{each['images/s']:.0f} images/s",
    )
