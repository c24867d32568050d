"""Batches for training: a function of (seed, step) alone, made in the background.

A step's global batch is the next stretch of the stream of :mod:`simflow.data.order`, and its mirrored
images are drawn from ``(seed, "flip", step)``; each rank takes its equal, contiguous share of both. So a
run that resumes at step ``k`` sees what it would have seen without the interruption, and the number of
processes changes nothing.
"""

from collections.abc import Generator
from typing import NamedTuple

import torch

from simflow.data.images import ImageSet
from simflow.data.order import Stream
from simflow.data.prefetch import prefetch
from simflow.pixels import Bytes, to_float
from simflow.seeding import generator
from simflow.shapes import Images, Labels


class Batch(NamedTuple):
    """What a training step is given."""

    images: Images
    """Float32 in [-1, 1]."""

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

    Arguments:
        batch: images a step over all ranks; each rank gets ``batch / world`` of them.
        flip: mirror half of the images left to right.
        prefetched: batches made in advance.
        pin: put them in page-locked memory, from which copies to a GPU can overlap with work.

    Closing the iterator (or dropping it) stops the thread behind it.

    Raises:
        ValueError: if ``batch`` cannot be shared equally, or ``prefetched`` is less than one.
    """
    if batch < 1 or batch % world:
        raise ValueError(f"A batch of {batch} images cannot be shared equally by {world} processes.")
    if prefetched < 1:
        raise ValueError(f"At least one batch must be prefetched, not {prefetched}.")
    stream = Stream(size=len(images), seed=seed, groups=images.groups)
    share = batch // world

    def make(step: int) -> Batch:
        indices = stream.at(step * batch + rank * share, share)
        pixels = images.images(indices)
        if flip:
            _mirror(pixels, seed=seed, step=step, batch=batch, first=rank * share)
        made = Batch(to_float(pixels), images.labels[indices])
        return Batch(made.images.pin_memory(), made.labels.pin_memory()) if pin else made

    return prefetch(make, start=start_step, depth=prefetched)


def _mirror(pixels: Bytes, *, seed: int, step: int, batch: int, first: int) -> None:
    """Mirrors, in place, the images that the step's coins say; ``first`` is this rank's place in the batch.

    In NumPy, as small tensor operations in a second thread would compete with the training for its cores.
    """
    coins = torch.rand(batch, generator=generator(seed, "flip", step)) < 0.5
    mine = coins[first : first + len(pixels)].numpy()
    view = pixels.numpy()
    view[mine] = view[mine][..., ::-1]
