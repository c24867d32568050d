"""Samples for an analysis: by class as the run samples, and the same seeds over the strength of guidance.

A seed's class is the seed modulo the number of classes, as ``simflow sample`` has it, so a picture here can be
made again there.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch

from simflow.analysis.distances import yardstick
from simflow.analysis.picture import Picture
from simflow.analysis.sweep import Judge, Sweep, sweep
from simflow.data.images import ImageSet
from simflow.data.order import spread
from simflow.evaluate.extractors import Extractor
from simflow.evaluate.fidelity import taken
from simflow.evaluate.recognition import LIMIT, fitted_to
from simflow.flow.decode import SEQUENTIAL, Plan
from simflow.flow.score import GuidedScoreStep, Refinement
from simflow.pipeline import Pipeline
from simflow.pixels import Bytes
from simflow.sample import SampleConfig, balanced_labels, sample_all, sample_each
from simflow.shapes import NULL

ROWS, COLUMNS = 20, 10
"""Most classes that are shown, and samples of each."""


def draw_each(
    pipe: Pipeline,
    seeds: list[int],
    labels: list[int],
    config: SampleConfig,
    refinements: Sequence[Refinement | None],
) -> list[Bytes]:
    """Samples of seeds and labels with each of these refinements."""
    drawn = sample_each(pipe.model, seeds=seeds, labels=labels, config=config, refinements=refinements)
    return [torch.cat([part.images for part in parts]) for parts in zip(*drawn, strict=True)]


def by_class(pipe: Pipeline) -> Picture:
    """A row of samples for each class, the first twenty; without classes, fifty samples."""
    names = pipe.model.facts.class_names
    rows = min(len(names), ROWS) or COLUMNS // 2
    places = [(row, column) for row in range(rows) for column in range(COLUMNS)]
    if names:
        seeds = [row + len(names) * column for row, column in places]
        captions = tuple(
            f"{name} ({label})" if names.count(name) > 1 else name for label, name in enumerate(names[:rows])
        )
    else:
        seeds = [COLUMNS * row + column for row, column in places]
        captions = tuple(f"seeds {COLUMNS * row} to {COLUMNS * (row + 1) - 1}" for row in range(rows))
    labels = [seed % len(names) if names else NULL for seed in seeds]
    images = sample_all(pipe.model, seeds=seeds, labels=labels, config=pipe.config.sample)
    return Picture(captions=captions, images=images.unflatten(0, (rows, COLUMNS)))


def judge(
    train: ImageSet, held_out: ImageSet, extractors: Sequence[Extractor] = (), *, samples: int = 0
) -> Judge:
    """A classifier fitted to the one set and tried on the other, both evenly thinned if they are large; and what
    feature networks see in the one.

    Args:
        train: real images to be held against.
        held_out: real images to try the classifier on.
        extractors: networks, on the device where they are to look.
        samples: how many samples will be judged at a time.

    Raises:
        ValueError: there are too few images for a Fréchet distance.
    """
    real = taken(train, spread(len(train), LIMIT))
    recogniser = fitted_to(real)
    accuracy = recogniser.accuracy(*held_out.some(LIMIT))
    assert accuracy is not None, "a sweep is of classes"
    return Judge(
        recogniser=recogniser,
        accuracy=accuracy,
        yardsticks=tuple(yardstick(extractor, real.pixels, samples=samples) for extractor in extractors),
    )


def sweeps(
    pipe: Pipeline,
    judge: Judge,
    *,
    weights: tuple[float, ...],
    samples: int,
    gammas: tuple[float, ...] | None,
) -> tuple[tuple[Sweep, ...], dict[str, Picture]]:
    """The sweep as the run refines, but without the guided score step, and, for each size given, or the run's own, with
    that step in the place of any other.

    Decoded as the run samples, but exactly where that is a plan, which keeps its bound at one weight only.

    Args:
        pipe: of a model with classes.
        judge: who judges.
        weights: strengths of guidance.
        samples: how many at each.
        gammas: sizes of the guided score step (SimFlow, Eq. 6); None is the run's own, 0 is none. Where the run has
            another refinement, a sweep of size 0 goes without it.

    Returns:
        the sweeps, and of each a picture with a row per weight and a column per seed.
    """
    own = pipe.config.sample
    step = own.refinement if isinstance(own.refinement, GuidedScoreStep) else None
    if gammas is None:
        gammas = () if step is None else (step.gamma,)
    steps: dict[float | None, Refinement | None] = {None: own.refinement if step is None else None}
    if 0.0 in gammas and steps[None] is not None:
        steps[0.0] = None
    for gamma in sorted(set(gammas) - {0.0}):
        steps[gamma] = replace(step or GuidedScoreStep(), gamma=gamma)
    way = replace(own, decoding=SEQUENTIAL) if isinstance(own.decoding, Plan) else own
    seeds, labels = list(range(samples)), balanced_labels(samples, len(pipe.model.facts.class_names))
    rules = {weight: pipe.guidance(weight) for weight in weights}
    shown: list[list[Bytes]] = []

    def drawn(weight: float) -> list[Bytes]:
        images = draw_each(pipe, seeds, labels, replace(way, guidance=rules[weight]), list(steps.values()))
        shown.append([each[:COLUMNS].clone() for each in images])
        return images

    rule = type(rules[weights[0]]).__name__
    made = sweep(drawn, torch.tensor(labels), judge, weights=weights, rule=rule, gammas=list(steps))
    captions = tuple(f"weight {weight:g}" for weight in weights)
    pictures = {
        picture_name(gamma): Picture(captions=captions, images=torch.stack(rows))
        for gamma, rows in zip(steps, zip(*shown, strict=True), strict=True)
    }
    return made, pictures


def picture_name(gamma: float | None) -> str:
    """What the picture of a sweep is called.

    >>> picture_name(None), picture_name(0.25)
    ('guidance', 'guidance-score-step-0.25')
    """
    return "guidance" if gamma is None else f"guidance-score-step-{gamma:g}"
