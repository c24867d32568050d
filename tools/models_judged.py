"""Chooses the guidance of a packed model, judges it and draws it: steps 4 and 5 of models.py."""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from simflow import weights
from simflow.autoencoder.pixels import PixelsConfig
from simflow.data.find import find
from simflow.data.held_out import held_out
from simflow.data.images import ImageSet, load
from simflow.data.order import spread
from simflow.evaluate.choose import choose
from simflow.evaluate.collect import Held, Pictures
from simflow.evaluate.desk import Desk, looked_at
from simflow.evaluate.fidelity import taken
from simflow.evaluate.generation import LEAST, GenerationConfig
from simflow.evaluate.protocol import Real, classes, generation
from simflow.evaluate.provenance import made_by
from simflow.evaluate.remembering import Nearest, memorisation
from simflow.evaluate.shards import make, sampling_of
from simflow.evaluate.shares import apportioned, counts_of
from simflow.evaluate.unseen import reconstruction
from simflow.export import enlargement, labelled_grid, pairs_grid
from simflow.files import replacing
from simflow.flow.score import ScoreDenoise
from simflow.frechet import frechet_distance
from simflow.pipeline import Pipeline
from simflow.sample import SampleConfig
from simflow.settings import from_dict, to_dict
from simflow.shapes import NULL
from simflow.train.metrics import LOSS, read_lines
from simflow.train.runs import RunFolder

LARGEST_FILE = 16_000_000
"""Bytes of a file of weights, its list of names apart."""
JUDGE = "efficientnet-lite0"
"""The network of the Fréchet distance: the models have learnt from another one."""
WEIGHTS, TEMPERATURES, SCORE_STEPS = (0.0, 0.5, 1.0, 2.0, 4.0), (0.9, 1.1), (0.25, 0.5)
"""Tried in turn, each at the best of those before: guidance weights; temperatures, beside 1; standard deviations of the
noise that a score step takes out (``ScoreDenoise``), beside the recipe's own refinement. The last is for flows taught
with a fixed noise."""
TRIAL = 5
"""A choice is made by one in so many samples."""
CHOICE, HELD_OUT = 0.4, 0.2
"""Real images of a choice and held-out images that are reconstructed, for each one of the figures' reference."""

logger = logging.getLogger("simflow")


@dataclass(frozen=True, kw_only=True)
class Court:
    """What is judged, and by how much."""

    model: str
    data: str
    train: ImageSet
    """The training images, one of each that are alike."""
    work: Path
    """Folder for samples, figures and pictures."""
    packed: Path
    """The folder of settings and rounded weights."""
    samples: int
    """That the figures are of."""
    reference: int
    """Most training images that they are compared with."""
    few: bool
    """A rehearsal: fewer ways are tried, and fewer images looked at."""
    batch: int | None
    """Images sampled at once; the recipe's own number if None."""
    desk: Desk
    check: Callable[[int], None]
    """Called with the images sampled; raises where the time is over."""

    def pipe(self) -> Pipeline:
        """The packed model on its device."""
        return Pipeline.from_pretrained(self.packed).to(self.desk.device)


def some(pictures: Pictures, count: int) -> Held:
    """Up to so many images, evenly spread, in memory."""
    return taken(pictures, spread(len(pictures), count))


def drawn(court: Court, pipe: Pipeline, config: SampleConfig, count: int, name: str) -> Pictures:
    """Samples of the seeds 0, 1, ..., of classes as frequent as among the training images, kept in a folder of this
    name."""
    logger.info("sampling %s: %d images", name, count)
    counts = counts_of(court.train, pipe.model.facts.class_names)
    return make(
        pipe.model,
        court.work / "samples" / name,
        seeds=range(count),
        labels=[NULL] * count if counts is None else apportioned(counts, count),
        config=config if court.batch is None else replace(config, batch=court.batch),
        record={},
        on_progress=court.check,
    )


def chosen_sampling(court: Court) -> dict[str, Any]:
    """The way of sampling of the least Fréchet distance from images that are not those of the figures.

    ``tried`` tells the distance of each; without a network for it, or without guidance, the recipe's own stays.
    """
    pipe = court.pipe()
    own, networks = pipe.config.sample, choose(JUDGE)
    rule = own.guidance
    record: dict[str, Any] = {"against": None, "samples": None}
    if rule is None or not networks.extractors:
        return record | {"tried": [], "sampling": to_dict(own), "left_out": networks.left_out}
    (extractor,), split = networks.extractors, "train"
    images = court.train
    if "validation" in find(court.data, split=None).splits:
        split = "validation"
        images = load(replace(pipe.config.data, path=court.data, split=split))
    real = some(images, int(CHOICE * court.reference))
    extractor.to(court.desk.device)
    moments = looked_at(extractor, real, f"{split} images", court.desk).moments.gaussian()
    count = max(LEAST, court.samples // TRIAL)
    tried: dict[str, float] = {}

    def nearest(*ways: SampleConfig) -> SampleConfig:
        few = {named(way): way for way in ways[: 2 if court.few else None]}
        for name in [name for name in few if name not in tried]:
            pictures = drawn(court, pipe, few[name], count, name)
            seen = looked_at(extractor, pictures, name, court.desk)
            tried[name] = frechet_distance(moments, seen.moments.gaussian()).distance
            logger.info("%s: %.1f", name, tried[name])
        return few[min(few, key=lambda name: tried[name])]

    taught_noise = pipe.model.prior.has_density and pipe.model.posterior.noise_std is not None
    steps = SCORE_STEPS if taught_noise and own.refinement is None else ()
    best = nearest(*(replace(own, guidance=replace(rule, weight=each), temperature=1.0) for each in WEIGHTS))
    best = nearest(best, *(replace(best, temperature=each) for each in TEMPERATURES))
    best = nearest(best, *(replace(best, refinement=ScoreDenoise(std=each)) for each in steps))
    return record | {
        "against": f"{len(real)} images of {split}",
        "samples": count,
        "distance": extractor.identity.frechet,
        "tried": [{"way": name, "distance": distance} for name, distance in tried.items()],
        "sampling": to_dict(best),
        "left_out": [],
    }


def named(way: SampleConfig) -> str:
    """What tells one of the ways that are tried from the others, for a folder: ``weight-2-temperature-1-score-0.5``."""
    weight = 0.0 if way.guidance is None else way.guidance.weight
    score = f"-score-{way.refinement.std:g}" if isinstance(way.refinement, ScoreDenoise) else ""
    return f"weight-{weight:g}-temperature-{way.temperature:g}{score}"


def judge(court: Court, choice: dict[str, Any], runs: list[Path]) -> dict[str, Any]:
    """The figures; pictures are drawn, and the packed settings get the way that was chosen."""
    pipe = court.pipe()
    own, chosen = pipe.config.sample, from_dict(SampleConfig, choice["sampling"])
    pipe.config = replace(pipe.config, sample=chosen)
    pipe.save_pretrained(court.packed, dtype="bfloat16", max_shard_size=LARGEST_FILE)
    ways = {"chosen": chosen}
    if chosen.guidance is not None:
        plain = replace(own, guidance=replace(chosen.guidance, weight=0.0), temperature=1.0)
        ways |= {} if named(plain) == named(chosen) else {"plain": plain}

    held, called = held_out(replace(pipe.config.data, path=court.data))
    held = held.once()
    train, unseen = (some(each, court.reference) if court.few else each for each in (court.train, held))
    networks, desk, real = choose(JUDGE), court.desk, some(train, court.reference)
    record: dict[str, Any] = {
        "model": court.model,
        "made_by": made_by(desk.device),
        "parameters": sum(parameter.numel() for parameter in pipe.model.parameters()),
        "weights": {
            "dtype": "bfloat16",
            "sha256": {
                path.name: hashlib.sha256(path.read_bytes()).hexdigest()
                for path in weights.files(court.packed)
            },
        },
        "training": [history(folder) for folder in runs],
        "choice": choice,
        "reference": f"{len(real)} of {len(train)} training images, evenly spread",
        "held_out": called,
        "left_out": networks.left_out,
    }
    made: list[Pictures] = []
    for name, way in ways.items():
        found = drawn(court, pipe, way, court.samples, name)
        against, config = Real(real, None, "training images"), GenerationConfig(groups=desk.groups)
        figures, left_out = generation(networks.extractors, found, against, config, desk)
        by_class, no_classes = classes(found, train, unseen)
        record[name] = {
            "samples": len(found),
            "sampling": sampling_of(way),
            "generation": figures,
            "classes": by_class,
            "left_out": left_out + no_classes,
        }
        made.append(found)
    few = int(HELD_OUT * court.reference)
    near, mirrored = Nearest(samples=few), pipe.config.data.flip
    record["neighbours"], _ = memorisation(made[0], train, unseen, near, desk, mirrored=mirrored)
    draw(court.work, made[0], some(unseen, court.reference))
    if not isinstance(pipe.config.model.autoencoder, PixelsConfig):
        numbers = spread(len(unseen), few)
        rebuilt = reconstruction(pipe.model, unseen, numbers, networks.extractors, None, desk)
        record["reconstruction"] = rebuilt.record
        shown = list(range(min(40, len(numbers))))
        size = rebuilt.originals.pixels.shape[-1]
        picture = pairs_grid(
            rebuilt.originals.images(shown),
            rebuilt.images.images(shown),
            columns=20,
            scale=enlargement(size),
        )
        save(picture, court.work / "reconstructions", size)
    say(record)
    return record


def history(folder: Path) -> dict[str, Any]:
    """How a run came about: its last line of metrics."""
    last = read_lines(RunFolder(folder).metrics)[-1]
    return {name: last[name] for name in ("step", "images", "seconds", "skipped")} | {
        name: value for name, value in last.items() if name.startswith(LOSS)
    }


def draw(folder: Path, samples: Pictures, real: Held) -> None:
    """The first samples of each class, and fewer of them left of real images; nothing is picked out."""
    plain, beside = {}, {}
    size = real.pixels.shape[-1]
    for label, name in enumerate(real.class_names or ("samples",)):
        same = real.labels == label if real.class_names else torch.ones(len(real), dtype=torch.bool)
        own = samples.images((samples.labels == label).nonzero()[:10, 0] if real.class_names else range(10))
        white = torch.full_like(own[:1], 255)
        plain[name] = own
        beside[name] = torch.cat([own[:6], white, real.pixels[same][:6]])
    for name, rows in (("samples", plain), ("beside-real", beside)):
        save(labelled_grid(rows, scale=enlargement(size)), folder / name, size)


def save(picture: Image.Image, path: Path, size: int) -> None:
    """As PNG; of large images, which are photographs, as JPEG."""
    with replacing(path.with_suffix(".jpg" if size > 128 else ".png")) as part:
        picture.save(part, format="JPEG" if size > 128 else "PNG", **({"quality": 90} if size > 128 else {}))


def say(record: dict[str, Any]) -> None:
    """The main figures, in the log."""
    for name in ("chosen", "plain"):
        for found in record.get(name, {}).get("generation", ()):
            for figure in found["figures"]:
                floor = "" if figure["floor"] is None else f" (real images {figure['floor']:.3g})"
                logger.info("%s: %s %.4g%s", name, figure["name"], figure["value"], floor)
        if name in record:
            said = record[name]["classes"]
            logger.info("%s: class accuracy %s, diversity %.3f", name, said["accuracy"], said["diversity"])
