"""Class figures compare a class with the class of the same name, wherever the two sets have it."""

import pytest
import torch

from simflow.evaluate.collect import Held
from simflow.evaluate.protocol import classes
from simflow.shapes import NULL

NAMES = ("ant", "bee", "cat")


def pictures(names, *, each=20, seed=0):
    """Images of each class, ``each`` times: a bright band, high or low by the name of the class."""
    draws = torch.Generator().manual_seed(seed)
    labels = torch.arange(len(names)).repeat(each)
    pixels = torch.randint(60, (len(labels), 1, 12, 12), generator=draws, dtype=torch.uint8)
    for image, label in zip(pixels, labels.tolist(), strict=True):
        top = 4 * (NAMES.index(names[label]) if names[label] in NAMES else label)
        image[:, top : top + 4] += 150 + 10 * top
    return Held(pixels=pixels, labels=labels, class_names=names)


@pytest.mark.parametrize("held", [NAMES, ("bee", "ant", "cat")])
@pytest.mark.parametrize("order", [NAMES, ("cat", "ant", "bee")])
def test_the_order_of_the_classes_does_not_matter(order, held):
    samples, train = pictures(order, seed=1), pictures(NAMES, seed=2)
    record, left_out = classes(samples, train, pictures(held, seed=3))
    assert left_out == []
    assert record["accuracy"] == record["accuracy_of_held_out"] == 1.0
    assert record["by_class"] == dict.fromkeys(NAMES, 1.0)
    assert record["diversity"] == pytest.approx(1, abs=0.05)


def test_classes_without_names_are_known_by_their_number():
    samples, train = pictures(("0", "1", "2"), seed=1), pictures(NAMES, seed=2)
    record, left_out = classes(samples, train, train)
    assert (record["accuracy"], left_out) == (1.0, [])
    assert list(record["by_class"]) == list(NAMES)


@pytest.mark.parametrize(
    ("own", "of", "told"),
    [
        (NAMES, ("ant", "bee", "dog"), "cat only among the samples; dog only among the images"),
        (NAMES, ("ant", "bee"), "cat only among the samples"),
        (("ant", "bee"), NAMES, "cat only among the images"),
        (("0", "1", "2"), ("0", "1"), "2 only among the samples"),
    ],
)
def test_of_other_classes_nothing_is_said_but_why(own, of, told):
    record, left_out = classes(pictures(own, seed=1), pictures(of, seed=2), pictures(of, seed=3))
    assert record is None
    assert left_out == [
        f"class accuracy and diversity: the samples have other classes than the images: {told}"
    ]


def test_held_out_images_of_other_classes_have_no_accuracy():
    train = pictures(NAMES, seed=2)
    record, left_out = classes(pictures(NAMES, seed=1), train, pictures(("ant", "bee"), seed=3))
    assert (record["accuracy"], record["accuracy_of_held_out"], left_out) == (1.0, None, [])


@pytest.mark.parametrize(("unknown", "expected"), [(slice(-1, None), 1.0), (slice(None), None)])
def test_held_out_images_without_a_class_do_not_count(unknown, expected):
    held = pictures(NAMES, seed=3)
    held.labels[unknown] = NULL
    record, _ = classes(pictures(NAMES, seed=1), pictures(NAMES, seed=2), held)
    assert (record["accuracy"], record["accuracy_of_held_out"]) == (1.0, expected)


def test_without_held_out_images_there_is_no_accuracy_of_theirs():
    record, left_out = classes(pictures(NAMES, seed=1), pictures(NAMES, seed=2), None)
    assert (record["accuracy"], record["accuracy_of_held_out"], record["held_out"]) == (1.0, None, 0)
    assert left_out == []


def test_without_classes_there_is_diversity_alone():
    samples, train = pictures(NAMES, seed=1), pictures(NAMES, seed=2)
    free = Held(pixels=samples.pixels, labels=torch.full((60,), NULL))
    for own, real in ((free, train), (samples, free)):
        record, left_out = classes(own, real, real)
        assert (record["accuracy"], left_out) == (None, [])
        assert record["diversity"] == pytest.approx(1, abs=0.05)


def test_training_images_of_one_class_tell_no_class():
    """Others may stand in another split; what was sampled is worth its other figures."""
    samples, train = pictures(NAMES, seed=1), pictures(NAMES, seed=2)
    train.labels[:] = 1
    record, left_out = classes(samples, train, pictures(NAMES, seed=3))
    assert (record["accuracy"], left_out) == (None, [])
    assert record["diversity"] > 0
