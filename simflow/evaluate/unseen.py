"""What a model makes of images it has not seen: reconstructions and likelihoods, as JSON-able records. Collective."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from simflow.distributed import from_main
from simflow.evaluate import fidelity, scores
from simflow.evaluate.collect import Held, Pictures
from simflow.evaluate.desk import Desk, looked_at
from simflow.evaluate.extractors import Extractor
from simflow.evaluate.figures import finite
from simflow.evaluate.generation import LEAST
from simflow.evaluate.lpips import Judge
from simflow.evaluate.reference import describe
from simflow.model import Model
from simflow.shapes import NULL


class Rebuilt(NamedTuple):
    """Reconstructions with their figures."""

    record: dict[str, Any]
    table: dict[str, Float[Tensor, " n"]]
    """Each figure of each image."""
    originals: Held
    images: Held


def reconstruction(
    model: Model,
    held: Pictures,
    numbers: Int[Tensor, " n"],
    extractors: Sequence[Extractor],
    perceptual: Judge | None,
    desk: Desk,
) -> Rebuilt:
    """Figures of the reconstructions of these held-out images."""
    with desk.counting("reconstructing", len(numbers)) as count:
        images = fidelity.reconstruct(
            model, held, numbers, seed=desk.seed, batch=desk.model_batch, on_progress=count
        )
    originals = Held(pixels=fidelity.pixels_of(held, numbers), labels=images.labels)
    table = fidelity.per_image(originals, images, perceptual, device=desk.device, batch=desk.batch)
    figures = fidelity.figures_of(table)
    for extractor in extractors if len(numbers) >= LEAST else ():
        extractor.to(desk.device)
        real = looked_at(extractor, originals, f"{extractor.identity.name}, originals", desk)
        made = looked_at(extractor, images, f"{extractor.identity.name}, reconstructions", desk)
        options = {"groups": desk.groups, "seed": desk.seed}
        figures.append(from_main(partial(fidelity.frechet_of, extractor.identity, real, made, **options)))
        extractor.to("cpu")
    record = {
        "images": len(numbers),
        "draws": "one draw of the latents per image",
        "seed": desk.seed,
        "figures": [figure.to_dict() for figure in figures],
        "perceptual": None if perceptual is None else perceptual.identity,
        "extractors": [describe(extractor.identity) for extractor in extractors],
    }
    return Rebuilt(finite(record), table, originals, images)


def likelihood(
    model: Model,
    train: Pictures,
    held: Pictures,
    numbers: Int[Tensor, " n"],
    foreign: dict[str, tuple[Pictures, Int[Tensor, " m"]]],
    desk: Desk,
) -> tuple[dict[str, Any], dict[str, scores.Scores]]:
    """Bits per dimension of held-out images, and beside foreign sets; all scores by the name of their set.

    Foreign images have no class of the model, so held-out ones are scored a second time without theirs, and only those
    scores are compared.
    """
    variance = scores.training_error(model, train, seed=desk.seed, batch=desk.model_batch)

    def scored(name: str, images: Pictures, which: Tensor, labels: Tensor) -> scores.Scores:
        with desk.counting(name, len(which)) as count:
            return scores.score(
                model,
                images,
                which,
                labels,
                variance=variance,
                seed=desk.seed,
                batch=desk.model_batch,
                on_progress=count,
            )

    known = bool(model.facts.class_names) and held.class_names == model.facts.class_names
    labels = held.labels[numbers] if known else torch.full((len(numbers),), NULL)
    found = {"held out": scored("likelihood of held-out images", held, numbers, labels)}
    record: dict[str, Any] = {
        "bound": "exact up to dequantisation (uniform)" if variance is None else "ELBO, Gaussian decoder",
        "decoder_variance": variance,
        "decoder_images": None if variance is None else min(len(train), scores.TRAIN_IMAGES),
        "draws": "one draw of the latents per image",
        "seed": desk.seed,
        "labels": "own" if known else "none",
        "held_out": found["held out"].summary(),
        "foreign": {},
    }
    compared = "held out"
    if foreign and known:
        compared = "held out, no class"
        found[compared] = scored(
            f"likelihood of {compared}", held, numbers, torch.full((len(numbers),), NULL)
        )
        record["held_out_no_class"] = found[compared].summary()
    for name, (images, which) in foreign.items():
        found[name] = scored(f"likelihood of {name}", images, which, torch.full((len(which),), NULL))
        separation = scores.auroc(found[compared].bits, found[name].bits)
        record["foreign"][name] = found[name].summary() | {"auroc": separation}
    shown = {name: found[name].bits for name in (compared, *foreign)}
    record["histograms"] = scores.histograms(shown)
    return finite(record), found
