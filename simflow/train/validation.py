"""The losses on held-out images while a run trains: where they rise and those of training fall, it learns by heart."""

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from simflow import distributed
from simflow.bounds import at_least
from simflow.data.config import DataConfig
from simflow.data.held_out import CHOSEN_BY, unseen_part
from simflow.data.images import ImageSet
from simflow.data.order import spread
from simflow.data.source import places_by_name
from simflow.objective import Objective
from simflow.pixels import to_float
from simflow.precision import NetworkDtype, computing_in
from simflow.seeding import generator
from simflow.shapes import NULL
from simflow.train import checkpoint
from simflow.train.state import TrainState

logger = logging.getLogger("simflow")

BATCH = 64
"""Images scored at once, however many train at once, so that no figure depends on that."""

LOWEST = "lowest_held_out"
"""Where a run's state remembers the lowest total so far, and of which images it is."""


@dataclass(frozen=True, kw_only=True)
class ValidationConfig:
    """Held-out images during training: the split ``validation`` of the data, or else ``test``."""

    every: int = 1000
    """Steps between two looks; the last step has one as well."""
    images: int = 1000
    """Most images that are used, evenly spread."""
    best: bool = False
    """Keep the averaged weights of the lowest total as a saved model in RUN/best."""

    def __post_init__(self) -> None:
        at_least(1, self, "train.validation", "every", "images")


def part_for(data: DataConfig) -> DataConfig:
    """The choice of the images that a training on ``data`` is validated with.

    Raises:
        ValueError: it sees all images.
    """
    found = unseen_part(data, CHOSEN_BY)
    if found is None:
        way = (
            "--data.split train leaves some" if data.split is None else "--data.hold_out 0.1 keeps some apart"
        )
        raise ValueError(
            f"train.validation needs images that are not trained on, and all of {data.path} are: {way}"
        )
    return found


def labels_for(unseen: ImageSet, images: ImageSet) -> Int[Tensor, " n"]:
    """The labels of held-out images, as the training images have their classes.

    Raises:
        ValueError: one is of a class that is not trained.
    """
    if not images.class_names:
        return torch.full_like(unseen.labels, NULL)
    places = places_by_name(unseen.class_names, images.class_names, absent=NULL)
    seen = [label for label in unseen.labels.unique().tolist() if label != NULL]
    new = [unseen.class_names[label] for label in seen if places[label] == NULL]
    if new:
        raise ValueError(f"held-out images are of classes that are not trained: {', '.join(new[:5])}")
    return torch.tensor([*places, NULL])[unseen.labels]  # NULL is the last


class Validation:
    """Looks at held-out images with the objective that trains.

    Every look sees the same images with the same noise and the same labels dropped, so two looks differ by the weights
    alone. Several processes share the images and get the same figures.

    Args:
        objective: on its device; whoever calls :meth:`losses` puts the averaged weights in.
        images: that are not trained on.
        labels: of these images (:func:`labels_for`).
        config: how many, and whether the best weights are kept.
        seed: of the noise.
        dtype: that networks compute in.
        best: the folder for the best weights.
    """

    def __init__(
        self,
        objective: Objective,
        images: ImageSet,
        labels: Int[Tensor, " n"],
        config: ValidationConfig,
        *,
        seed: int,
        dtype: NetworkDtype,
        best: Path,
    ) -> None:
        self.objective, self.images, self.labels, self.config = objective, images, labels, config
        self.seed, self.best = seed, best
        self.dtype: NetworkDtype = dtype
        self.chosen = spread(len(images), config.images)

    @torch.no_grad()
    def losses(self) -> dict[str, float]:
        """The losses by name, as training has them but for a discriminator's; collective."""
        device, sums = self.objective.model.device, dict[str, float]()
        batches = list(enumerate(self.chosen.split(BATCH)))
        for number, rows in batches[distributed.rank() :: distributed.world()]:
            images, labels = to_float(self.images.images(rows).to(device)), self.labels[rows].to(device)
            drawn = generator(self.seed, "validation", number, device=device)
            with computing_in(self.dtype, device):
                given = self.objective.model.autoencoder.encode(images) if self.objective.coded else images
                found = self.objective(given, labels, drawn)
            for name, value in found.named().items():
                sums[name] = sums.get(name, 0.0) + float(value) * len(rows)
        together = distributed.gather_objects(sums)
        names = dict.fromkeys(name for each in together for name in each)
        return {name: sum(each.get(name, 0.0) for each in together) / len(self.chosen) for name in names}

    def remember(self, state: TrainState, losses: dict[str, float], settings: dict[str, Any]) -> None:
        """Keeps the averaged weights if no earlier look at these images gave a lower total, and if that is asked for;
        collective."""
        if not self.config.best:
            return
        total, seen = losses["total"], [self.images.fingerprint, len(self.chosen)]
        lowest = state.extra.get(LOWEST, {})
        if total < (lowest["total"] if lowest.get("seen") == seen else math.inf):
            state.extra[LOWEST] = {"total": total, "seen": seen}
            checkpoint.save_average(self.best, state, settings)
            if distributed.is_main():
                logger.info("step %d has the lowest held-out loss, %.4f: %s", state.step, total, self.best)
