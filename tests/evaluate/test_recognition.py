"""One look at training images, then class accuracy and diversity of any pictures."""

from dataclasses import replace

import pytest
import torch

from simflow.evaluate.classify import fit
from simflow.evaluate.collect import Held
from simflow.evaluate.diversity import diversity
from simflow.evaluate.features import pooled_pixels
from simflow.evaluate.recognition import fitted_to
from simflow.shapes import NULL

NAMES = ("dark", "light")


def pictures(*, seed: int) -> Held:
    """Forty of each class, so noisy that the classes overlap."""
    draws = torch.Generator().manual_seed(seed)
    labels = torch.arange(80) % 2
    noise = torch.randint(0, 200, (80, 1, 4, 4), generator=draws)
    return Held(
        pixels=(noise + 20 * labels[:, None, None, None]).to(torch.uint8), labels=labels, class_names=NAMES
    )


def test_the_figures_are_those_of_the_classifier_and_of_the_distances():
    train, own = pictures(seed=0), pictures(seed=1)
    recogniser, alone = fitted_to(train), fit(train.pixels, train.labels, pool=2)
    assert recogniser.accuracy(own.pixels, own.labels) == alone.accuracy(own.pixels, own.labels) < 1
    assert recogniser.by_class(own.pixels, own.labels) == alone.accuracies(own.pixels, own.labels)
    ours, theirs = pooled_pixels(own.pixels), pooled_pixels(train.pixels)
    expected = diversity(ours, own.labels, theirs, train.labels)
    assert recogniser.diversity(own.pixels, own.labels) == expected


@pytest.mark.parametrize("whose", ["training images", "samples"])
def test_without_classes_all_images_are_one(whose):
    train, own = pictures(seed=0), pictures(seed=1)
    none = torch.full((80,), NULL)
    labels = own.labels
    if whose == "samples":
        labels = none
    else:
        train = replace(train, class_names=())
    recogniser = fitted_to(train)
    assert recogniser.accuracy(own.pixels, labels) is None
    assert recogniser.by_class(own.pixels, labels) == {}
    expected = diversity(pooled_pixels(own.pixels), none, pooled_pixels(train.pixels), none)
    assert recogniser.diversity(own.pixels, labels) == expected


def test_images_without_a_class_among_others_are_not_judged_by_it():
    train, own = pictures(seed=0), pictures(seed=1)
    some = torch.where(torch.arange(80) < 20, NULL, train.labels)
    recogniser = fitted_to(replace(train, labels=some))
    alone = fit(train.pixels[20:], train.labels[20:], pool=2)
    assert recogniser.accuracy(own.pixels, own.labels) == alone.accuracy(own.pixels, own.labels)
    assert recogniser.accuracy(own.pixels, some) == alone.accuracy(own.pixels[20:], own.labels[20:])
    one = fitted_to(replace(train, labels=torch.where(train.labels == 1, NULL, 0)))
    assert one.accuracy(own.pixels, own.labels) is None


def test_of_many_training_images_evenly_spread_ones_are_looked_at():
    train = pictures(seed=0)
    recogniser = fitted_to(train, limit=10)
    assert len(recogniser.features) == len(recogniser.labels) == 10
    assert recogniser.labels.unique().tolist() == [0, 1]
