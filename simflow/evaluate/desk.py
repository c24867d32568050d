"""What all parts of an evaluation share: device, batches, seed, and how progress is shown."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from simflow.evaluate.collect import Collected, OnProgress, Pictures, collect
from simflow.evaluate.extractors import Extractor


@dataclass(frozen=True, kw_only=True)
class Desk:
    """What all parts share."""

    device: torch.device
    counting: Callable[[str, int], AbstractContextManager[OnProgress]]
    """Makes a counter for a piece of work: what is done, and of how many images."""
    batch: int = 64
    """Images that a network looks at, at once, on each process."""
    model_batch: int = 100
    """Images that the model itself codes at once."""
    seed: int = 0
    """Of draws of latents, groups and subsets."""
    groups: int = 20
    """Of images, each left out once for standard errors."""


def looked_at(
    extractor: Extractor, pictures: Pictures, what: str, desk: Desk, *, probabilities: bool = False
) -> Collected:
    """:func:`~simflow.evaluate.collect.collect` with a counter."""
    with desk.counting(what, len(pictures)) as count:
        return collect(
            extractor,
            pictures,
            device=desk.device,
            batch=desk.batch,
            probabilities=probabilities,
            on_progress=count,
        )
