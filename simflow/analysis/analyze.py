"""From a trained model to its analysis: latents of held-out images, the noise the flow makes of them, and samples.

What does not apply to a model, or cannot be had, is left out and said in a sentence; nothing stands in for it.
"""

import logging

import torch

from simflow.analysis import samples
from simflow.analysis.gaussianity import Gaussianity, gaussianity
from simflow.analysis.interpolation import interpolation
from simflow.analysis.latent_space import LatentSpace, encoded, latent_space, noise_std
from simflow.analysis.origin import Origin
from simflow.analysis.picture import Picture
from simflow.analysis.record import NONE_HELD_OUT, Analysis, Plan
from simflow.analysis.robustness import Robustness, decoded, robustness, strip
from simflow.analysis.sweep import Sweep
from simflow.data.images import ImageSet
from simflow.data.order import spread
from simflow.evaluate.choose import Chosen
from simflow.evaluate.generation import require_enough
from simflow.evaluate.recognition import has_several
from simflow.flow.stack import Flow
from simflow.pipeline import Pipeline
from simflow.pixels import Bytes
from simflow.sample import balanced_labels, trajectory
from simflow.shapes import NULL, Labels, Latents

logger = logging.getLogger("simflow")


def analyze(
    pipe: Pipeline,
    held_out: ImageSet,
    train: ImageSet | str,
    plan: Plan,
    origin: Origin,
    networks: Chosen | None = None,
) -> tuple[Analysis, dict[str, Picture]]:
    """Everything.

    Args:
        pipe: the model and its run's settings.
        held_out: images that it was not trained on, at least two, of its size and colours.
        train: images to fit the judge of the guidance sweep to, or a sentence that says why there are none.
        plan: how much.
        origin: is noted.
        networks: feature networks for the Fréchet distances of the sweep; none are asked for if None.

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
    originals, labels = held_out.some(plan.images)
    left_out: list[str] = []
    if held_out.class_names != facts.class_names:
        labels = torch.full_like(labels, NULL)
        left_out.append("The images have other classes than the model: their noise is made without classes.")

    if isinstance(train, ImageSet) and train.fingerprint == held_out.fingerprint:
        left_out.append(NONE_HELD_OUT)
    logger.info("latents of %d images", len(originals))
    batch = pipe.config.sample.batch
    means, drawn = encoded(model, originals, seed=plan.seed, batch=batch)
    space, reason = statistics(means, drawn, plan.seed)
    left_out += reason
    curve, pictures, reason = under_noise(pipe, means, drawn, originals, plan)
    left_out += reason
    logger.info("samples by class")
    pictures["samples"] = samples.by_class(pipe)
    noise = None
    if isinstance(model.prior, Flow):
        noise, reason = noise_of(model.prior, drawn, labels.to(pipe.device), batch)
        left_out += reason
        states = trajectory(
            model,
            seeds=list(range(samples.COLUMNS)),
            labels=balanced_labels(samples.COLUMNS, len(facts.class_names)),
            config=pipe.config.sample,
        )
        pictures["trajectory"] = Picture(captions=tuple(states), images=torch.stack(list(states.values())))
    else:
        left_out.append("The noise and the way of a sample are left out: the prior is not a flow of blocks.")
    swept, shown, reason = over_guidance(pipe, held_out, train, plan, networks or Chosen([], []))
    left_out += reason
    analysis = Analysis(
        origin=origin,
        plan=plan,
        images=len(originals),
        latents=space,
        robustness=curve,
        noise=noise,
        sweeps=swept,
        sampling=pipe.config.sample,
        left_out=tuple(left_out),
    )
    return analysis, pictures | shown


def statistics(means: Latents, drawn: Latents, seed: int) -> tuple[LatentSpace | None, list[str]]:
    """Figure 4, or why it is not there."""
    if means.shape[2] * means.shape[3] < 3:
        return None, ["Statistics of latents are left out: they need at least three positions."]
    if collapsed(means):
        return None, ["Statistics of latents are left out: the latents of all images are the same."]
    return latent_space(means, drawn, seed=seed), []


def under_noise(
    pipe: Pipeline, means: Latents, drawn: Latents, originals: Bytes, plan: Plan
) -> tuple[Robustness | None, dict[str, Picture], list[str]]:
    """Figure 3, or why it is not there."""
    if not pipe.model.autoencoder.decoder_parts():
        return (
            None,
            {},
            ["Noise on latents and interpolation are left out: the flow works on pixels."],
        )
    if collapsed(means):
        return (
            None,
            {},
            ["Noise on latents and interpolation are left out: the latents of all images are the same."],
        )
    logger.info("reconstruction at %d levels of latent noise", len(plan.levels))
    curve = robustness(
        pipe.model.decode,
        means,
        originals,
        levels=plan.levels,
        own_std=noise_std(means, drawn),
        seed=plan.seed,
        batch=pipe.config.sample.batch,
    )
    return curve, decodings(pipe, means, drawn, originals, plan), []


def collapsed(means: Latents) -> bool:
    """Whether the encoder says the same of all images."""
    return bool((means == means[:1]).all())


def over_guidance(
    pipe: Pipeline, held_out: ImageSet, train: ImageSet | str, plan: Plan, networks: Chosen
) -> tuple[tuple[Sweep, ...], dict[str, Picture], list[str]]:
    """The guidance sweep, or why it is not there."""
    names = pipe.model.facts.class_names
    reason = None
    if len(names) < 2:
        reason = "the model has no classes"
    elif not pipe.model.prior.rules:
        reason = "the prior follows no rule of guidance"
    elif isinstance(train, str):
        reason = train
    elif not train.class_names == held_out.class_names == names:
        reason = "the images have other classes than the model"
    elif not has_several(train.labels):
        reason = "the training images are all of one class"
    elif not bool((held_out.labels != NULL).any()):
        reason = "no held-out image has a class"
    elif plan.samples < 2 * len(names):
        reason = f"{plan.samples} samples are not two of each of {len(names)} classes"
    if reason is not None or isinstance(train, str):
        return (), {}, [f"The guidance sweep is left out: {reason}."]
    left_out = [
        f"A Fréchet distance over guidance is left out: {sentence}." for sentence in networks.left_out
    ]
    extractors = []
    for extractor in networks.extractors:
        try:
            require_enough(extractor.identity, plan.samples, len(train))
        except ValueError as error:
            left_out.append(f"A Fréchet distance over guidance is left out: {error}.")
        else:
            extractors.append(extractor.to(pipe.device))
    gammas = plan.gammas
    if gammas and any(gammas) and not pipe.model.prior.has_density:
        left_out.append("The guided score step is left out: the prior has no density.")
        gammas = ()
    logger.info("guidance sweep: %d samples at %d weights", plan.samples, len(plan.weights))
    judge = samples.judge(train, held_out, extractors, samples=plan.samples)
    swept, shown = samples.sweeps(pipe, judge, weights=plan.weights, samples=plan.samples, gammas=gammas)
    return swept, shown, left_out


def decodings(
    pipe: Pipeline, means: Latents, drawn: Latents, originals: Bytes, plan: Plan
) -> dict[str, Picture]:
    """Reconstructions, reconstructions under noise, and interpolations, of a few images."""
    decode, batch = pipe.model.decode, pipe.config.sample.batch
    some, ends = spread(len(originals), plan.shown), spread(len(originals), 2 * plan.shown)
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
def noise_of(flow: Flow, drawn: Latents, labels: Labels, batch: int) -> tuple[Gaussianity | None, list[str]]:
    """How normal the noise is that the flow makes of latents under their labels, or why that is not known."""
    parts = zip(drawn.split(batch), labels.split(batch), strict=True)
    noise = torch.cat([flow.forward(*part)[0] for part in parts])
    if not bool(noise.isfinite().all()):
        return None, ["The noise is left out: some of it is infinite or not a number."]
    return gaussianity(noise), []
