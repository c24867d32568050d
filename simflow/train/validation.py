"""The losses on held-out images while a run trains: where they rise and those of training fall, it learns by heart."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from simflow import distributed
from simflow.bounds import at_least
from simflow.data.images import ImageSet
from simflow.data.order import spread
from simflow.model import NetworkDtype, computing_in
from simflow.objective import Objective
from simflow.pixels import to_float
from simflow.seeding import generator

BATCH = 64
"""Images scored at once, however many train at once, so that no figure depends on that."""


@dataclass(frozen=True, kw_only=True)
class ValidationConfig:
    """Held-out images during training: the split ``validation`` of the data, or else ``test``."""

    every: int = 1000
    """Steps between two looks; the last step has one as well."""
    images: int = 1000
    """Most images that are used, evenly spread."""

    def __post_init__(self) -> None:
        at_least(1, self, "train.validation", "every", "images")


def validator(
    objective: Objective, images: ImageSet, config: ValidationConfig, *, seed: int, dtype: NetworkDtype
) -> Callable[[], dict[str, float]]:
    """A function that gives the losses of held-out images by name, as training has them but for a discriminator's.

    Every call sees the same images with the same noise and the same labels dropped, so two looks differ by the weights
    alone. Collective: processes share the images and get the same figures.
    """
    chosen = spread(len(images), config.images)

    @torch.no_grad()
    def losses() -> dict[str, float]:
        device, sums = objective.model.device, dict[str, float]()
        batches = list(enumerate(chosen.split(BATCH)))
        for number, rows in batches[distributed.rank() :: distributed.world()]:
            own = generator(seed, "validation", number, device=device)
            with computing_in(dtype, device):
                found = objective(
                    to_float(images.images(rows).to(device)), images.labels[rows].to(device), own
                )
            for name, value in found.named().items():
                sums[name] = sums.get(name, 0.0) + float(value) * len(rows)
        together = distributed.gather_objects(sums)
        names = dict.fromkeys(name for each in together for name in each)
        return {name: sum(each.get(name, 0.0) for each in together) / len(chosen) for name in names}

    return losses
