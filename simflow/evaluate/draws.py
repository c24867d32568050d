"""Latents of images as an evaluation draws them: batch by batch, each image with a generator of its own.

So no figure that rests on a draw depends on the batch or on the number of processes.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from simflow.distributed import batches_of_share
from simflow.evaluate.collect import Pictures
from simflow.model import Model
from simflow.pixels import to_float
from simflow.posterior import Posterior
from simflow.seeding import generator
from simflow.shapes import Code, Images, Latents


class Drawn(NamedTuple):
    """One batch, on the model's device."""

    places: Int[Tensor, " b"]
    """Which of the images asked for these are; on the CPU."""
    images: Images
    """In [-1, 1]."""
    code: Code
    latents: Latents


def drawn(
    model: Model, pictures: Pictures, numbers: Int[Tensor, " n"], *, seed: int, batch: int
) -> Iterator[Drawn]:
    """This process's share of the images of these numbers; an image's number seeds its draw."""
    for places in batches_of_share(len(numbers), batch):
        own = numbers[places]
        images = to_float(pictures.images(own).to(model.device))
        code = model.autoencoder.encode(images)
        yield Drawn(places, images, code, draws_of(model.posterior, code, own, seed=seed))


def draws_of(posterior: Posterior, code: Code, numbers: Int[Tensor, " b"], *, seed: int) -> Latents:
    """A draw for each code; an image's number seeds its own."""
    latents = [
        posterior.sample(one, generator("draw", seed, number, device=code.device))
        for one, number in zip(code.split(1), numbers.tolist(), strict=True)
    ]
    return torch.cat(latents)
