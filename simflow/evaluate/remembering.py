"""Do samples copy training images? The record and the picture of :mod:`simflow.evaluate.neighbours`. Collective."""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from simflow.data.order import spread
from simflow.distributed import from_main, is_main
from simflow.evaluate import neighbours
from simflow.evaluate.collect import Held, Pictures
from simflow.evaluate.desk import Desk, looked_at
from simflow.evaluate.extractors import Extractor
from simflow.evaluate.fidelity import pixels_of
from simflow.export import enlargement, grid


@dataclass(frozen=True, kw_only=True)
class Nearest:
    """Where the nearest training images are looked for."""

    samples: int = 1000
    """Samples that are compared, evenly spread; and images of the yardstick."""
    training: int = 50_000
    """Training images, evenly spread."""
    shown: int = 36
    """Samples in the picture: those nearest to a training image."""
    neighbours: int = 3


def memorisation(
    samples: Pictures,
    train: Pictures,
    held: Pictures | None,
    config: Nearest,
    desk: Desk,
    *,
    by: Extractor | None = None,
    mirrored: bool = False,
) -> tuple[dict[str, Any], Image.Image]:
    """The record, and a picture: samples, each followed by its nearest training images.

    Args:
        samples: of the model.
        train: what it was trained on.
        held: what it was not trained on; None if there is nothing, and training images serve as the yardstick.
        config: how many.
        desk: shared by all parts.
        by: whose features tell what is near; pooled pixels if None.
        mirrored: whether it was trained on mirrored images as well.
    """
    look = partial(_described, by=by, desk=desk)
    of_samples, of_train = spread(len(samples), config.samples), spread(len(train), config.training)
    others = train if held is None else held
    of_others = spread(len(others), config.samples)
    compared = _Compared(
        samples=look(samples, of_samples),
        train=look(train, of_train),
        mirrored=look(train, of_train, mirror=True) if mirrored else None,
        yardstick=look(others, of_others),
        itself=_places(of_others, of_train) if held is None else None,
    )
    return from_main(partial(_memorisation, samples, train, (of_samples, of_train), compared, config, by))


class _Compared(NamedTuple):
    """Features."""

    samples: Tensor
    train: Tensor
    mirrored: Tensor | None
    yardstick: Tensor
    itself: Tensor | None
    """Of each image of the yardstick its place among the training images, if it is one."""


def _memorisation(
    samples: Pictures,
    train: Pictures,
    chosen: tuple[Tensor, Tensor],
    compared: _Compared,
    config: Nearest,
    by: Extractor | None,
) -> tuple[dict[str, Any], Image.Image]:
    own, seen, mirrored, others, itself = compared
    find = partial(neighbours.nearest, training=seen, mirrored=mirrored)
    found = find(own, k=min(config.neighbours, len(seen)))
    yardstick = find(others, k=1, leave_out=itself).distances[:, 0]
    order = found.distances[:, 0].argsort()[: config.shown].tolist()
    numbers = chosen[1][found.indices]
    record = {
        "features": "pooled pixels" if by is None else by.identity.name,
        "distance": "root mean squared difference of features"
        + (", to an image or its mirror image" if mirrored is not None else ""),
        "samples": len(own),
        "training": len(seen),
        "yardstick": "held-out images" if itself is None else "other training images",
        "yardstick_images": len(others),
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
    picture = grid(torch.cat(rows), 3 * len(rows[0]), scale=enlargement(rows[0].shape[-1]))
    return record, picture


def _places(numbers: Tensor, among: Tensor) -> Tensor:
    """Where each number stands among others, or -1.

    >>> _places(torch.tensor([5, 6, 7]), torch.tensor([1, 5, 7]))
    tensor([ 1, -1,  2])
    """
    place = {number: index for index, number in enumerate(among.tolist())}
    return torch.tensor([place.get(number, -1) for number in numbers.tolist()])


def _described(
    images: Pictures, numbers: Tensor, *, by: Extractor | None, desk: Desk, mirror: bool = False
) -> Tensor:
    """Features of some images on rank 0; elsewhere too where an extractor looked."""
    if by is None and not is_main():
        return torch.zeros(0, 1)
    if by is None:
        parts = (pixels_of(images, part) for part in numbers.split(4096))
        return torch.cat([neighbours.pixels(part.flip(-1) if mirror else part) for part in parts])
    pixels = pixels_of(images, numbers)
    some = Held(pixels=pixels.flip(-1) if mirror else pixels, labels=images.labels[numbers])
    by.to(desk.device)
    return looked_at(by, some, f"{by.identity.name}, neighbours", desk).features
