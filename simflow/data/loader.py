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
from typing import NamedTuple

import torch
from torch import Tensor

from simflow.data.images import ImageSet
from simflow.data.order import Stream
from simflow.data.prefetch import prefetch
from simflow.pixels import Bytes
from simflow.seeding import generator
from simflow.shapes import Labels


class Batch(NamedTuple):
    """What a training step is given."""

    images: Bytes
    """As they are stored; networks want them through :func:`simflow.pixels.to_float`."""

    labels: Labels
    """Int64; ``NULL`` throughout if the set has no classes."""


def batches(
    images: ImageSet,
    *,
    batch: int,
    seed: int,
    start_step: int = 0,
    rank: int = 0,
    world: int = 1,
    flip: bool = False,
    prefetched: int = 4,
    pin: bool = False,
) -> Generator[Batch, None, None]:
    """This rank's share of the batches of steps ``start_step, start_step + 1, ...``, without end.

    Args:
        batch: images per step over all ranks; each rank gets ``batch / world`` of them.
        flip: mirror half of the images left to right.
        prefetched: batches made in advance.
        pin: put them in page-locked memory, from which copies to a GPU can overlap with work.

    Closing the iterator (or dropping it) stops the thread behind it.

    Raises:
        ValueError: ``batch`` cannot be shared equally, or ``prefetched`` is less than one.
    """
    if batch < 1 or batch % world:
        raise ValueError(f"a batch of {batch} images cannot be shared equally by {world} processes")
    if prefetched < 1:
        raise ValueError(f"at least one batch must be prefetched, not {prefetched}")
    stream = Stream(size=len(images), seed=seed, groups=images.groups)
    share = batch // world

    def make(drawn: tuple[int, Tensor]) -> Batch:
        step, indices = drawn
        pixels = images.images(indices)
        if flip:
            _mirror(pixels, seed=seed, step=step, batch=batch, first=rank * share)
        made = Batch(pixels, images.labels[indices])
        return Batch(made.images.pin_memory(), made.labels.pin_memory()) if pin else made

    drawn = ((step, stream.at(step * batch + rank * share, share)) for step in count(start_step))
    return prefetch(make, drawn, depth=prefetched)


def _mirror(pixels: Bytes, *, seed: int, step: int, batch: int, first: int) -> None:
    """Mirrors, in place, the images that the step's coins say; ``first`` is this rank's place in the batch."""
    coins = torch.rand(batch, generator=generator(seed, "flip", step)) < 0.5
    mine = coins[first : first + len(pixels)].numpy()
    view = pixels.numpy()
    view[mine] = view[mine][..., ::-1]
