"""Seeds -> noise -> images, in batches, streamed.

Image *i* is a function of its own seed, its label and the model: it is the same whatever the batch size or the
number of processes, up to float rounding, and whatever the way of decoding, up to the tolerance of that way. No more
than a batch is held at once. This file knows nothing of files or progress bars.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from simflow.flow.decode import SEQUENTIAL, Plan, Sequential
from simflow.flow.guidance import GaussianProduct, Guidance, LogScale
from simflow.flow.jacobi import Jacobi
from simflow.flow.score import GuidedScoreStep, Refinement, ScoreDenoise
from simflow.model import Model
from simflow.pixels import Bytes, to_uint8
from simflow.precision import NetworkDtype, computing_in, network_dtype
from simflow.seeding import noise_for_seeds
from simflow.shapes import Images, Labels
from simflow.sit.guidance import ClassifierFree

Rule = GaussianProduct | LogScale | ClassifierFree
"""A rule of guidance: two of flows, one of SiT."""

Choice = TypeVar("Choice", bound=Guidance | ClassifierFree | Refinement)
"""Guidance or a refinement."""


@dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """How a model is sampled unless a user says otherwise."""

    guidance: Rule | None = field(default_factory=GaussianProduct)
    """How conditional and unconditional predictions mix, or none: two rules for flows, one for SiT."""
    refinement: GuidedScoreStep | ScoreDenoise | None = None
    """A score step on the sampled latents before they are decoded, or none."""
    temperature: float = 1.0
    """Standard deviation of the noise; 1 samples the model."""
    batch: int = 100
    """Images sampled at once, on each process."""
    decoding: Sequential | Jacobi | Plan = SEQUENTIAL
    """How the blocks of a flow are undone: exactly, in parallel passes to a tolerance, or each in a way of its own."""
    dtype: NetworkDtype = "float32"
    """In what networks compute: "float32", or "bfloat16", which is faster on GPUs and on CPUs that multiply it, and not
    exact. Tokens and affine maps stay in float32."""

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ValueError(f"the sampling batch must be at least 1, not {self.batch}")
        if not 0 < self.temperature < math.inf:
            raise ValueError(f"the temperature must be positive and finite, not {self.temperature}")
        network_dtype(self.dtype)


class Samples(NamedTuple):
    """Some of the images asked for, in the order of their seeds."""

    seeds: list[int]
    labels: Labels
    images: Bytes
    """uint8 ``(b, channels, height, width)`` on the CPU."""


def balanced_labels(number: int, classes: int) -> list[int]:
    """``0, 1, …, classes - 1, 0, 1, …``: as many of each class as can be; NULL (-1) without classes.

    >>> balanced_labels(5, 3), balanced_labels(2, 0)
    ([0, 1, 2, 0, 1], [-1, -1])
    """
    return [i % classes if classes else -1 for i in range(number)]


def sample(
    model: Model, *, seeds: Sequence[int], labels: Sequence[int], config: SampleConfig
) -> Iterator[Samples]:
    """Samples one image for each seed and label, a batch at a time.

    Args:
        model: with the weights to sample from (usually the average).
        seeds: one for each image, any whole numbers.
        labels: one for each seed; -1 for "no class".
        config: guidance, refinement, temperature, batch size, decoding and dtype.

    Raises:
        ValueError: seeds and labels differ in number, a label is out of range, or the guidance or the way of decoding
            does not fit the prior.
    """
    for own, wanted in batches(seeds, labels, config.batch):
        yield samples_of(own, wanted, generated(model, own, wanted, config))


def sample_all(model: Model, *, seeds: Sequence[int], labels: Sequence[int], config: SampleConfig) -> Bytes:
    """The images of :func:`sample` in one tensor, uint8 ``(number of seeds, channels, height, width)`` on the CPU."""
    size = model.facts.image_size
    none = torch.zeros(0, model.facts.channels, size, size, dtype=torch.uint8)
    parts = sample(model, seeds=seeds, labels=labels, config=config)
    return torch.cat([none, *(part.images for part in parts)])


@torch.no_grad()
def sample_each(
    model: Model,
    *,
    seeds: Sequence[int],
    labels: Sequence[int],
    config: SampleConfig,
    refinements: Sequence[Refinement | None],
) -> Iterator[tuple[Samples, ...]]:
    """What :func:`sample` gives with each of these refinements in the place of that of ``config``, bit for bit.

    They refine the same latents, so the way from the noise to them is gone once a batch.

    Raises:
        ValueError: as :func:`sample`.
    """
    for own, wanted in batches(seeds, labels, config.batch):
        known = torch.tensor(wanted, device=model.device)
        steps = [applicable(refinement, model) for refinement in refinements]
        latents = model.latents(
            noise_of(model, own, config),
            known,
            guidance=applicable(config.guidance, model),
            decoding=config.decoding,
            dtype=config.dtype,
        )
        yield tuple(
            samples_of(own, wanted, model.finished(latents, known, refinement=step, dtype=config.dtype))
            for step in steps
        )


def batches(seeds: Sequence[int], labels: Sequence[int], size: int) -> Iterator[tuple[list[int], list[int]]]:
    """Seeds and labels, so many at a time.

    >>> list(batches([5, 6, 7], [0, 1, 0], 2))
    [([5, 6], [0, 1]), ([7], [0])]

    Raises:
        ValueError: seeds and labels differ in number.
    """
    if len(seeds) != len(labels):
        raise ValueError(f"{len(seeds)} seeds and {len(labels)} labels: each image needs one of both")
    pairs = iter(zip(seeds, labels, strict=True))
    while chunk := list(islice(pairs, size)):
        yield [seed for seed, _ in chunk], [label for _, label in chunk]


def samples_of(seeds: list[int], labels: list[int], images: Images) -> Samples:
    """Images as the decoder gives them, as bytes on the CPU."""
    return Samples(seeds, torch.tensor(labels), to_uint8(images.float()).cpu())


def generated(model: Model, seeds: Sequence[int], labels: Sequence[int], config: SampleConfig) -> Images:
    """The images of these seeds in one batch, as the decoder gives them, unclamped, on the model's device."""
    return model.generate(
        noise_of(model, seeds, config),
        torch.tensor(labels, device=model.device),
        guidance=applicable(config.guidance, model),
        refinement=applicable(config.refinement, model),
        decoding=config.decoding,
        dtype=config.dtype,
    )


@torch.no_grad()
def trajectory(
    model: Model, *, seeds: Sequence[int], labels: Sequence[int], config: SampleConfig
) -> dict[str, Bytes]:
    """How the samples of these seeds come about: "noise", what each undone block makes of it ("block 3 (deep)",
    "block 2", "block 1"), and, if there is a refinement, the latents after the "score step", all decoded. The last are
    the images that :func:`sample` gives.

    Raises:
        ValueError: the prior does not make its samples block by block, or a label is out of range.
    """
    wanted = torch.tensor(labels, device=model.device)
    model.check_labels(wanted)
    noise, guidance = noise_of(model, seeds, config), applicable(config.guidance, model)
    way = None if config.decoding == SEQUENTIAL else config.decoding
    model.prior.check_sampling(guidance, way)
    with computing_in(config.dtype, model.device):
        states = model.prior.trajectory(noise, wanted, guidance, way)
        deep = len(states) - 1
        blocks = (f"block {number}{' (deep)' if number == deep else ''}" for number in range(deep, 0, -1))
        named = dict(zip(["noise", *blocks], states, strict=True))
        refinement = applicable(config.refinement, model)
        if refinement is not None:
            named["score step"] = model.refined(states[-1], wanted, refinement)
        return {name: to_uint8(model.decode(state).float()).cpu() for name, state in named.items()}


def guided(
    rule: Rule | None,
    model: Model,
    *,
    weight: float | None = None,
    attention_temperature: float | None = None,
) -> Rule | None:
    """A rule of guidance with what is not None; in the place of none, the usual one of the model's prior.

    Args:
        rule: as a run has it.
        model: what is guided.
        weight: strength; 0 is none.
        attention_temperature: of the pass that guidance leads away from.

    Returns:
        the rule; None if the prior follows none and none is asked for.

    Raises:
        ValueError: the prior follows no rule; it would guide by classes, and the model has none; a strength or
            temperature is out of range, or a rule that is not one of flows is given an attention temperature.
    """
    if not model.prior.rules:
        if not weight and attention_temperature is None:
            return None
        raise ValueError(
            f"this model's prior, {type(model.prior).__name__}, follows no rule of guidance: only guidance 0 is for it"
        )
    own: Rule = rule or model.prior.rules[0]()
    if weight is not None:
        own = replace(own, weight=weight)
    if attention_temperature is not None:
        if not isinstance(own, Guidance):
            raise ValueError(
                f"an attention temperature belongs to the guidance of flows, and this model has {type(own).__name__}"
            )
        own = replace(own, temperature=attention_temperature)
    if own.weight and own.needs_classes and not model.facts.class_names:
        away = "; an attention temperature of 0.5 or 1.5 guides it away from itself"
        way_out = away if isinstance(own, Guidance) else ""
        raise ValueError(f"guidance needs classes, and this model was trained without any{way_out}")
    return own


def noise_of(model: Model, seeds: Sequence[int], config: SampleConfig) -> Tensor:
    """The noise of these seeds at the temperature of ``config``, on the model's device."""
    return (config.temperature * noise_for_seeds(seeds, model.prior.noise_shape)).to(model.device)


def applicable(choice: Choice | None, model: Model) -> Choice | None:
    """Guidance or a refinement, or None where it needs classes and the model has none: a recipe serves both kinds of
    data."""
    useless = choice is not None and choice.needs_classes and not model.facts.class_names
    return None if useless else choice
