"""How often samples have each class."""

import pytest
import torch

from simflow.evaluate.collect import Held
from simflow.evaluate.shares import APART, apportioned, counts_of, notes
from simflow.shapes import NULL

COUNTS = [[5, 3, 1], [1, 1, 1], [648, 146, 294, 481], [1, 0, 1000], [7]]


@pytest.mark.parametrize("counts", COUNTS)
def test_every_class_has_its_share_of_any_number_of_samples(counts):
    """To within one sample here; and of as many samples as there are images, exactly."""
    labels = torch.tensor(apportioned(counts, sum(counts)))
    shares = torch.tensor(counts).double() / sum(counts)
    given = torch.nn.functional.one_hot(labels, len(counts)).cumsum(0)
    due = shares * torch.arange(1, len(labels) + 1)[:, None]
    assert (given - due).abs().max() < 1
    assert given[-1].tolist() == counts


@pytest.mark.parametrize("counts", COUNTS)
def test_more_samples_begin_with_the_same_ones(counts):
    assert apportioned(counts, 50)[:20] == apportioned(counts, 20)


def test_classes_of_equal_counts_come_in_turn():
    """As they do without counts."""
    assert apportioned([30] * 7, 50) == [number % 7 for number in range(50)]


def test_no_image_has_a_class():
    with pytest.raises(ValueError, match="no real image has a class"):
        apportioned([0, 0], 3)


def held(labels, names=("ant", "bee", "cow")):
    return Held(
        pixels=torch.zeros(len(labels), 1, 2, 2, dtype=torch.uint8),
        labels=torch.tensor(labels),
        class_names=names,
    )


def test_counts_by_name():
    assert counts_of(held([0, 0, 2]), ("cow", "ant", "bee")) == [1, 2, 0]
    assert counts_of(held([0, 0, 2], ("0", "1", "2")), ("cow", "ant", "bee")) == [2, 0, 1]
    assert counts_of(held([0, 0, 2]), ("cow", "ant", "dog")) == [1, 2, 0], "no bee among them"
    assert counts_of(held([0, 0, 1]), ("cow", "ant", "dog")) is None
    assert counts_of(held([0, 1], ("ant", "bee")), ("cow", "bee", "ant")) == [0, 1, 1]
    assert counts_of(held([NULL, NULL], ()), ("cow", "ant", "dog")) is None
    assert counts_of(held([NULL, NULL]), ("cow", "ant", "bee")) is None


def test_it_is_said_where_samples_have_classes_in_other_proportions():
    even, uneven = held([0, 1, 2] * 20), held([0] * 50 + [1] * 5 + [2] * 5)
    (note,) = notes(even, uneven, told=" Do this.")
    assert "(ant: 33.33% and 83.33%)" in note
    assert note.endswith("an error Do this.")
    assert notes(even, even) == notes(even, None) == notes(even, held([NULL] * 3, ())) == []
    assert notes(even, held([0, 1, 2], ("ant", "bee", "dog"))) == []


@pytest.mark.parametrize(("classes", "samples"), [(100, 150), (1000, 1500), (1000, 100), (10, 15)])
def test_it_is_not_said_of_so_few_samples_that_they_could_not_be_better(classes, samples):
    names = tuple(f"c{number:04}" for number in range(classes))
    even = held(list(range(classes)) * 3, names)
    tailed = held([label for label in range(classes) for _ in range(1 + 300 // (1 + label))], names)
    assert notes(held([number % classes for number in range(samples)], names), even) == []
    assert notes(held(apportioned(counts_of(tailed, names), samples), names), tailed) == []


def test_what_is_within_chance_is_not_said():
    most = int(100 * APART)
    even = held([0] * 50 + [1] * 50, ("ant", "bee"))
    assert notes(even, held([0] * (50 + most) + [1] * (50 - most), ("ant", "bee"))) == []
    assert notes(even, held([0] * (51 + most) + [1] * (49 - most), ("ant", "bee")))
