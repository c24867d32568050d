"""What training images look like to the network of FD-loss, once, before a run that learns from its samples."""

import logging
from functools import partial

import torch

from simflow import distributed
from simflow.data.images import ImageSet
from simflow.data.order import spread
from simflow.frechet import Moments
from simflow.losses.frechet import FrechetLoss
from simflow.pixels import to_float
from simflow.precision import NetworkDtype, computing_in

logger = logging.getLogger("simflow")

BATCH = 64
"""Images looked at at once, however many train at once."""


@torch.no_grad()
def look_at(images: ImageSet, frechet: FrechetLoss, *, flip: bool, dtype: NetworkDtype) -> None:
    """Tells the loss of the training images, near-duplicates as one; collective.

    Every second image is mirrored where half of the images are.

    Raises:
        ValueError: there are fewer than two images.
    """
    device = frechet.populations.each()[0].mean.device
    once = images.once()
    batches = spread(len(once), frechet.config.images).split(BATCH)
    if distributed.is_main():
        logger.info("looking at %d training images for FD-loss", sum(map(len, batches)))
    seen = [Moments(len(each.mean)) for each in frechet.populations.each()]
    for rows in batches[distributed.rank() :: distributed.world()]:
        signed = to_float(once.images(rows).to(device))
        if flip:
            signed[1::2] = signed[1::2].flip(-1)
        with computing_in(dtype, device):
            features = frechet.look(signed, once.labels[rows].to(device))
        for moments, each in zip(seen, features, strict=True):
            moments.add(each.cpu())
    gather = partial(distributed.gather_rows, device=device)
    frechet.populations.compare_with(moments.of_all(gather) for moments in seen)
