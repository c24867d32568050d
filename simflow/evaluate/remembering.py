"""Do samples copy training images? The record and the picture of :mod:`simflow.evaluate.neighbours`. Collective."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from simflow.data.order import spread
from simflow.distributed import is_main
from simflow.evaluate import neighbours
from simflow.evaluate.collect import Held, Pictures, from_main
from simflow.evaluate.desk import Desk, looked_at
from simflow.evaluate.extractors import Extractor
from simflow.evaluate.fidelity import pixels_of
from simflow.export import grid


@dataclass(frozen=True, kw_only=True)
class Nearest:
    """Where the nearest training images are looked for."""

    samples: int = 1000
    """Samples that are compared, evenly spread; and held-out images."""
    training: int = 50_000
    """Training images, evenly spread."""
    shown: int = 36
    """Samples in the picture: those nearest to a training image."""
    neighbours: int = 3


def memorisation(
    samples: Pictures,
    train: Pictures,
    held: Pictures,
    config: Nearest,
    desk: Desk,
    *,
    by: Extractor | None = None,
) -> tuple[dict[str, Any], Image.Image]:
    """The record, and a picture: samples, each followed by its nearest training images.

    Args:
        samples: of the model.
        train: what it was trained on.
        held: what it was not trained on.
        config: how many.
        desk: shared by all parts.
        by: whose features tell what is near; pooled pixels if None.
    """
    chosen = [
        spread(len(images), limit)
        for images, limit in ((samples, config.samples), (train, config.training), (held, config.samples))
    ]
    described = [
        _described(images, numbers, by, desk)
        for images, numbers in zip((samples, train, held), chosen, strict=True)
    ]
    return from_main(partial(_memorisation, samples, train, chosen, described, config, by))


def _memorisation(
    samples: Pictures,
    train: Pictures,
    chosen: list[Tensor],
    described: list[Tensor],
    config: Nearest,
    by: Extractor | None,
) -> tuple[dict[str, Any], Image.Image]:
    own, seen, unseen = described
    found = neighbours.nearest(own, seen, k=min(config.neighbours, len(seen)))
    yardstick = neighbours.nearest(unseen, seen, k=1).distances[:, 0]
    order = found.distances[:, 0].argsort()[: config.shown].tolist()
    numbers = chosen[1][found.indices]
    record = {
        "features": "pooled pixels" if by is None else by.identity.name,
        "distance": "root mean squared difference of features",
        "samples": len(own),
        "training": len(seen),
        "held_out": len(unseen),
        **neighbours.memorisation(found.distances[:, 0], yardstick).to_dict(),
        "nearest": [
            {
                "sample": int(chosen[0][row]),
                "training": numbers[row].tolist(),
                "distances": found.distances[row].tolist(),
            }
            for row in order
        ],
    }
    rows = [torch.cat([samples.images([int(chosen[0][row])]), train.images(numbers[row])]) for row in order]
    picture = grid(torch.cat(rows), 3 * len(rows[0]), scale=max(1, 64 // rows[0].shape[-1]))
    return record, picture


def _described(images: Pictures, numbers: Tensor, by: Extractor | None, desk: Desk) -> Tensor:
    """Features of some images on rank 0; elsewhere too where an extractor looked."""
    if by is None:
        if not is_main():
            return torch.zeros(0, 1)
        return torch.cat([neighbours.pixels(pixels_of(images, part)) for part in numbers.split(4096)])
    some = Held(pixels=pixels_of(images, numbers), labels=images.labels[numbers])
    by.to(desk.device)
    return looked_at(by, some, f"{by.identity.name}, neighbours", desk).features
