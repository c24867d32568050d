"""What a trained run learns next, by its own settings: ``simflow train --next frechet --start_from RUN``.

The later stages of the models that come with the package (:mod:`simflow.recipes.shipped`), for any run: the decoder
alone against a judge, the flow alone, the flow from its own samples. They can follow each other in this order or
another; each leaves the other parts as they are.
"""

from dataclasses import replace
from typing import Literal

from simflow.autoencoder.pixels import PixelsConfig
from simflow.config import RunConfig
from simflow.losses.frechet import FrechetConfig
from simflow.recipes.shipped import GENTLE
from simflow.recipes.stages import decoder_stage, frechet_stage, judged, prior_stage
from simflow.train.optim import total_steps

Stage = Literal["decoder", "prior", "frechet"]
"""What learns: the decoder, on images; the prior, on codes; the prior from its samples (FD-loss)."""

DECODED = 64
"""Images a step, at most, for the decoder of a run that decoded none, whose batches are larger."""
LOOKED_AT = (96, 224)
"""Least and largest side at which SqueezeNet looks at samples; it was trained at the larger one."""


def after(run: RunConfig, stage: Stage) -> RunConfig:
    """The configuration of the run that follows ``run``, of whose length a prior's is.

    Raises:
        ValueError: a model of pixels has no decoder to teach.
    """
    name, pixels = f"{run.name}-{stage}", isinstance(run.model.autoencoder, PixelsConfig)
    if stage == "decoder":
        if pixels:
            raise ValueError(f"'{run.name}' is a flow on pixels: it has no decoder that could learn")
        made = decoder_stage(run, name, judged(run, GENTLE), steps=2000, lr=2e-4)
        batch = run.train.batch if run.objective.on_images else min(run.train.batch, DECODED)
        return replace(made, train=replace(made.train, batch=batch))
    if stage == "prior":
        made = prior_stage(run, name, steps=(total_steps(run.train.stages),))
    else:
        least, largest = LOOKED_AT
        frechet = FrechetConfig(weight=2.0, size=min(max(run.data.image_size, least), largest))
        made = frechet_stage(run, name, frechet, steps=400)
    return replace(made, train=replace(made.train, codes="fresh")) if pixels else made
