"""What guidance buys and what it costs: Fréchet distance, recognition and diversity of samples over its strength.

Guidance makes samples look more like their class and less like each other. For each weight, the same seeds are
sampled and judged by their Fréchet distance from real images (:mod:`simflow.analysis.distances`), by a classifier
fitted to real images and by the distances within a class (:mod:`simflow.evaluate.recognition`). It is Figure 7 of the
SimFlow paper, which sweeps the gFID of tens of thousands of samples; like there, the sweep is made without the score
step of Eq. 6 and with it.

Sweeps with score steps of several sizes go side by side, a weight at a time, for their samples come from the same
latents. This file does not know models: it takes a function from a weight to samples.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from simflow.analysis.distances import Distances, Yardstick, gathered
from simflow.evaluate.recognition import Recogniser
from simflow.frechet import Frechet
from simflow.pixels import Bytes
from simflow.shapes import Labels

WEIGHTS = (0.0, 0.25, 0.5, 1.0, 2.0)
"""Weights of a sweep unless others are asked for."""


@dataclass(frozen=True, kw_only=True)
class Judge:
    """What is known of real images of at least two classes."""

    recogniser: Recogniser
    accuracy: float
    """On held-out images."""
    yardsticks: tuple[Yardstick, ...] = ()
    """Networks and what they know of real images; one Fréchet distance each."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Figures of samples by guidance weight; equally many of every tuple."""

    rule: str
    """Name of the rule of guidance."""
    gamma: float | None
    """Step size of the guided score step after sampling (Eq. 6); None is the run's own way without that step, 0 is no
    refinement at all."""
    weights: tuple[float, ...]
    accuracy: tuple[float, ...]
    """Share of samples whose class the classifier recognises."""
    accuracy_error: tuple[float, ...]
    """Standard error of that share, from the number of samples alone."""
    diversity: tuple[float, ...]
    """Distances within a class over those of real images; 1 is as varied."""
    real_accuracy: float
    """The same classifier on held-out real images."""
    samples: int
    """At each weight."""
    distances: tuple[Distances, ...] = ()
    """Fréchet distances, by network."""

    @property
    def apart(self) -> str:
        """What a name is followed by to tell this sweep from the run's own way: nothing, or its refinement."""
        return "" if self.gamma is None else f", {refined_by(self.gamma)}"


class Seen(NamedTuple):
    """What the judge says of the samples at one weight."""

    accuracy: float
    diversity: float
    distances: tuple[Frechet, ...]
    """By yardstick."""


def refined_by(gamma: float | None) -> str:
    """How the samples of a sweep are refined, in words.

    >>> [refined_by(gamma) for gamma in (None, 0.0, 0.25)]
    ['without Eq. 6', 'no refinement', 'score step 0.25']
    """
    if gamma is None:
        return "without Eq. 6"
    return f"score step {gamma:g}" if gamma else "no refinement"


def sweep(
    draw: Callable[[float], Sequence[Bytes]],
    labels: Labels,
    judge: Judge,
    *,
    weights: Sequence[float] = WEIGHTS,
    rule: str,
    gammas: Sequence[float | None] = (None,),
) -> tuple[Sweep, ...]:
    """Draws and judges at every weight; a sweep for each size of the score step.

    Args:
        draw: samples ``(b, channels, height, width)`` of these labels at a weight, for each of ``gammas``.
        labels: ``(b,)``, at least two of one class.
        judge: who judges.
        weights: strengths of guidance, in the order of the plot.
        rule: name of the rule.
        gammas: only noted.

    Raises:
        ValueError: there is no weight, or no class has two samples.
    """
    if not weights:
        raise ValueError("a guidance sweep needs at least one weight")
    rows = [[look(samples, labels, judge) for samples in draw(weight)] for weight in weights]
    return tuple(
        Sweep(
            rule=rule,
            gamma=gamma,
            weights=tuple(weights),
            accuracy=tuple(seen.accuracy for seen in column),
            accuracy_error=tuple(
                math.sqrt(seen.accuracy * (1 - seen.accuracy) / len(labels)) for seen in column
            ),
            diversity=tuple(seen.diversity for seen in column),
            real_accuracy=judge.accuracy,
            samples=len(labels),
            distances=tuple(
                gathered(stick, [seen.distances[number] for seen in column])
                for number, stick in enumerate(judge.yardsticks)
            ),
        )
        for gamma, column in zip(gammas, zip(*rows, strict=True), strict=True)
    )


def look(samples: Bytes, labels: Labels, judge: Judge) -> Seen:
    """Judges samples of these labels."""
    accuracy = judge.recogniser.accuracy(samples, labels)
    assert accuracy is not None, "a sweep is of classes"
    return Seen(
        accuracy=accuracy,
        diversity=judge.recogniser.diversity(samples, labels),
        distances=tuple(stick.distance(samples) for stick in judge.yardsticks),
    )
