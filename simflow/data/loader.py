"""Batches for training: a function of (seed, step) alone, made in the background.

A step's global batch is the next stretch of the stream of :mod:`simflow.data.order`, and its mirrored
images are drawn from ``(seed, "flip", step)``; each rank takes its equal, contiguous share of both. So a
run that resumes at step ``k`` sees what it would have seen without the interruption, and the number of
processes changes nothing.

Images are handed out as bytes, a quarter of what floats would be on their way to a GPU; whoever trains makes them
floats there. The background does its work in NumPy. Were it to run one of torch's operations that are shared among
threads, OpenMP would keep a second team for it, count more threads than cores, and let the training's sleep at every
barrier from then on, which costs a third of its speed (docs/performance.md). So the order is drawn by the caller.
"""

from collections.abc import Generator
from itertools import count
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from simflow.data.order import Stream
from simflow.data.prefetch import prefetch
from simflow.seeding import generator
from simflow.shapes import Labels

PREFETCHED = 4
"""Batches made in advance."""


@runtime_checkable
class Shown(Protocol):
    """What training is shown of a set of images: their pixels (:class:`~simflow.data.images.ImageSet`), or what a
    frozen encoder makes of them (:class:`~simflow.train.codes.Codes`)."""

    labels: Int[Tensor, " n"]
    """The class of each image, int64."""
    groups: Int[Tensor, " n"] | None
    """The group of near-duplicates of each image; None if each stands for itself."""

    def __len__(self) -> int: ...

    def shown(self, indices: Int[Tensor, " b"], mirrored: Bool[Tensor, " b"] | None) -> Tensor:
        """Those of these numbers as they are stored, ``(b, ...)``, and of the ``mirrored`` what they are left to right;
        a tensor of its own."""
        ...


class Batch(NamedTuple):
    """What a training step is given."""

    images: Tensor
    """As they are stored; networks want them through :meth:`simflow.objective.Objective.ready`."""

    labels: Labels
    """Int64; ``NULL`` throughout if the set has no classes."""


def batches(
    images: Shown,
    *,
    batch: int,
    seed: int,
    start_step: int = 0,
    rank: int = 0,
    world: int = 1,
    flip: bool = False,
    pin: bool = False,
) -> Generator[Batch, None, None]:
    """This rank's share of the batches of steps ``start_step, start_step + 1, ...``, without end.

    Args:
        batch: images per step over all ranks; each rank gets ``batch / world`` of them.
        flip: mirror half of the images left to right.
        pin: put them in page-locked memory, from which copies to a GPU can overlap with work.

    Closing the iterator (or dropping it) stops the thread behind it.

    Raises:
        ValueError: ``batch`` cannot be shared equally.
    """
    if batch < 1 or batch % world:
        raise ValueError(f"a batch of {batch} images cannot be shared equally by {world} processes")
    stream = Stream(size=len(images), seed=seed, groups=images.groups)
    share = batch // world

    def make(drawn: tuple[int, Tensor]) -> Batch:
        step, indices = drawn
        mirrored = _coins(seed, step, batch)[rank * share : (rank + 1) * share] if flip else None
        made = Batch(images.shown(indices, mirrored), images.labels[indices])
        return Batch(made.images.pin_memory(), made.labels.pin_memory()) if pin else made

    drawn = ((step, stream.at(step * batch + rank * share, share)) for step in count(start_step))
    return prefetch(make, drawn, depth=PREFETCHED)


def _coins(seed: int, step: int, batch: int) -> Bool[Tensor, " batch"]:
    """Which images of a step's global batch are mirrored left to right."""
    return torch.rand(batch, generator=generator(seed, "flip", step)) < 0.5
