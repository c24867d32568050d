"""A sweep over a toy whose guidance does what guidance does: clearer and more alike."""

import pytest
import torch

from simflow.analysis.sweep import Judge, sweep
from simflow.evaluate.collect import Held
from simflow.evaluate.recognition import fitted_to
from simflow.seeding import generator

LABELS = torch.arange(40) % 2


def images(contrast: float, spread: float, *, seed: int = 0) -> torch.Tensor:
    """Class 0 is dark above, class 1 below; noise of a given spread over it."""
    clean = torch.zeros(40, 1, 8, 8)
    clean[LABELS == 0, :, :4] = -contrast
    clean[LABELS == 1, :, 4:] = -contrast
    noise = torch.randn(clean.shape, generator=generator("toy", seed))
    return (128 + 60 * (clean + spread * noise)).clamp(0, 255).to(torch.uint8)


def real_images() -> Held:
    """What samples are held against."""
    return Held(pixels=images(1.0, 0.5, seed=1), labels=LABELS, class_names=("above", "below"))


@pytest.fixture
def judge() -> Judge:
    recogniser = fitted_to(real_images())
    return Judge(recogniser=recogniser, accuracy=recogniser.accuracy(images(1.0, 0.5, seed=2), LABELS))


def test_accuracy_rises_and_diversity_falls(judge):
    asked = []

    def draw(weight: float) -> list[torch.Tensor]:
        asked.append(weight)
        return [images(0.1 + weight, 0.5 / (1 + weight))]

    (found,) = sweep(draw, LABELS, judge, weights=(0.0, 1.0, 2.0), rule="Toy", gammas=(0.25,))
    assert asked == list(found.weights) == [0.0, 1.0, 2.0]
    assert list(found.accuracy) == sorted(found.accuracy)
    assert found.accuracy[0] < 0.95
    assert found.accuracy[-1] == 1
    assert list(found.diversity) == sorted(found.diversity, reverse=True)
    assert found.diversity[-1] < found.diversity[0]
    assert found.accuracy_error[-1] == 0
    p = found.accuracy[0]
    assert found.accuracy_error[0] == pytest.approx((p * (1 - p) / 40) ** 0.5)
    assert (found.samples, found.gamma, found.real_accuracy) == (40, 0.25, judge.accuracy)


def test_the_real_images_themselves_are_as_diverse_as_real(judge):
    (found,) = sweep(lambda weight: [images(1.0, 0.5, seed=1)], LABELS, judge, weights=(1.0,), rule="Toy")
    assert found.diversity == (pytest.approx(1),)


def test_sweeps_side_by_side_are_those_one_by_one(judge):
    def draw(weight: float) -> list[torch.Tensor]:
        return [images(0.1 + weight, 0.5), images(0.3 + weight, 0.2)]

    both = sweep(draw, LABELS, judge, weights=(0.0, 1.0), rule="Toy", gammas=(None, 0.25))
    alone = [
        sweep(
            lambda weight, number=number: [draw(weight)[number]],
            LABELS,
            judge,
            weights=(0.0, 1.0),
            rule="Toy",
            gammas=(gamma,),
        )
        for number, gamma in enumerate((None, 0.25))
    ]
    assert list(both) == [found for (found,) in alone]
    assert both[0].accuracy != both[1].accuracy


def test_no_weights_no_sweep(judge):
    with pytest.raises(ValueError, match="at least one weight"):
        sweep(lambda weight: [images(1.0, 0.5)], LABELS, judge, weights=(), rule="Toy")
