"""From a trained model to its analysis: latents of held-out images, the noise the flow makes of them, and samples.

What does not apply to a model, or cannot be had, is left out and said in a sentence; nothing stands in for it.
"""

import logging

import torch

from simflow.data.images import ImageSet
from simflow.evaluate.collect import spread as evenly
from simflow.flow.stack import Flow
from simflow.pipeline import Pipeline
from simflow.pixels import Bytes
from simflow.report import samples
from simflow.report.analysis import Analysis, Plan
from simflow.report.gaussianity import Gaussianity, gaussianity
from simflow.report.interpolation import interpolation
from simflow.report.latent_space import encoded, latent_space, noise_std
from simflow.report.origin import Origin
from simflow.report.picture import Picture
from simflow.report.robustness import decoded, robustness, strip
from simflow.report.spread import spread
from simflow.report.trajectory import trajectory
from simflow.sample import balanced_labels
from simflow.shapes import NULL, Labels, Latents

logger = logging.getLogger("simflow")


def analyze(
    pipe: Pipeline, held_out: ImageSet, train: ImageSet | str, plan: Plan, origin: Origin
) -> tuple[Analysis, dict[str, Picture]]:
    """Everything.

    Args:
        pipe: the model and its run's settings.
        held_out: images that it was not trained on, at least two, of its size and colours.
        train: images to fit the judge of the guidance sweep to, or a sentence that says why there are none.
        plan: how much.
        origin: is noted.

    Raises:
        ValueError: the images do not fit the model, are fewer than two, or a number of the plan is too small.
    """
    model, facts = pipe.model, pipe.model.facts
    if (facts.channels, facts.image_size) != (held_out.channels, held_out.image_size):
        raise ValueError(
            f"the model takes images of {facts.channels} channels and {facts.image_size} pixels a side, "
            f"not {held_out.channels} and {held_out.image_size}"
        )
    if len(held_out) < 2:
        raise ValueError("an analysis needs at least 2 images, and there is 1")
    originals, labels = spread(held_out, plan.images)
    left_out = []
    if held_out.class_names != facts.class_names:
        labels = torch.full_like(labels, NULL)
        left_out.append("The images have other classes than the model: their noise is made without classes.")

    logger.info("latents of %d images", len(originals))
    means, drawn = encoded(model, originals, seed=plan.seed, batch=pipe.config.sample.batch)
    space = curve = None
    pictures: dict[str, Picture] = {}
    if model.latent_shape[1] * model.latent_shape[2] < 3:
        left_out.append("Statistics of latents are left out: they need at least three positions.")
    else:
        space = latent_space(means, drawn, seed=plan.seed)
    if not model.autoencoder.decoder_parts():
        left_out.append("Noise on latents and interpolation are left out: this flow works on the pixels.")
    else:
        logger.info("reconstruction at %d levels of latent noise", len(plan.levels))
        curve = robustness(
            model.decode,
            means,
            originals,
            levels=plan.levels,
            own_std=noise_std(means, drawn),
            seed=plan.seed,
            batch=pipe.config.sample.batch,
        )
        pictures |= decodings(pipe, means, drawn, originals, plan)
    logger.info("samples by class")
    pictures["samples"] = samples.by_class(pipe)
    noise = None
    if isinstance(model.prior, Flow):
        noise = noise_of(model.prior, drawn, labels.to(pipe.device), pipe.config.sample.batch)
        pictures["trajectory"] = trajectory(
            model,
            model.prior,
            seeds=list(range(samples.COLUMNS)),
            labels=balanced_labels(samples.COLUMNS, len(facts.class_names)),
            config=pipe.config.sample,
        )
    else:
        left_out.append("The noise and the way of a sample are left out: the prior is not a flow of blocks.")
    swept = ()
    if isinstance(train, str):
        left_out.append(f"The guidance sweep is left out: {train}.")
    elif len(facts.class_names) < 2:
        left_out.append("The guidance sweep is left out: the model has no classes.")
    elif not train.class_names == held_out.class_names == facts.class_names:
        left_out.append("The guidance sweep is left out: the images have other classes than the model.")
    elif plan.samples < 2 * len(facts.class_names):
        left_out.append(
            f"The guidance sweep is left out: {plan.samples} samples are not two of each of "
            f"{len(facts.class_names)} classes."
        )
    else:
        logger.info("guidance sweep: %d samples at %d weights", plan.samples, len(plan.weights))
        judge = samples.judge(train, held_out)
        swept, shown = samples.sweeps(
            pipe, judge, weights=plan.weights, samples=plan.samples, gamma=plan.gamma
        )
        pictures |= shown
    return (
        Analysis(
            origin=origin,
            plan=plan,
            images=len(originals),
            latents=space,
            robustness=curve,
            noise=noise,
            sweeps=swept,
            left_out=tuple(left_out),
        ),
        pictures,
    )


def decodings(
    pipe: Pipeline, means: Latents, drawn: Latents, originals: Bytes, plan: Plan
) -> dict[str, Picture]:
    """Reconstructions, reconstructions under noise, and interpolations, of a few images."""
    decode, batch = pipe.model.decode, pipe.config.sample.batch
    some, ends = evenly(len(originals), plan.shown), evenly(len(originals), 2 * plan.shown)
    rows = {
        "original": originals[some],
        "from the mean": decoded(decode, means[some], batch),
        "from a draw": decoded(decode, drawn[some], batch),
    }
    if torch.equal(means, drawn):
        del rows["from a draw"]
    pairs = tuple(f"pair {number + 1}" for number in range(len(ends) // 2))
    return {
        "reconstructions": Picture(captions=tuple(rows), images=torch.stack(list(rows.values()))),
        "robustness": strip(decode, means[some], originals[some], levels=plan.levels, seed=plan.seed),
        "interpolation": interpolation(
            decode, means[ends], originals[ends], steps=plan.steps, captions=pairs
        ),
    }


@torch.no_grad()
def noise_of(flow: Flow, drawn: Latents, labels: Labels, batch: int) -> Gaussianity:
    """How normal the noise is that the flow makes of latents under their labels."""
    parts = zip(drawn.split(batch), labels.split(batch), strict=True)
    return gaussianity(torch.cat([flow.forward(*part)[0] for part in parts]))
