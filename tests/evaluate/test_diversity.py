"""Diversity is the dull double loop over pairs, and means what it says."""

import pytest
import torch

from simflow.evaluate.diversity import diversity, within_class_distances


def features(count, seed=0, scale=1.0):
    return scale * torch.randn(count, 6, generator=torch.Generator().manual_seed(seed))


LABELS = torch.tensor([0, 1, 0, 2, 1, 0, 1, 1])


def test_the_dull_double_loop():
    x = features(8)
    for label, distance in within_class_distances(x, LABELS).items():
        members = [x[i] for i in range(8) if LABELS[i] == label]
        pairs = [(a - b).norm().item() for i, a in enumerate(members) for b in members[:i]]
        assert distance == pytest.approx(sum(pairs) / len(pairs), rel=1e-6)


def test_a_class_of_one_image_has_no_distance():
    assert within_class_distances(features(8), LABELS).keys() == {0, 1}


def test_equal_sets_have_1_and_it_scales_with_the_distances():
    x = features(8)
    assert diversity(x, LABELS, x, LABELS) == 1
    assert diversity(0.25 * x + 7, LABELS, x, LABELS) == pytest.approx(0.25, rel=1e-5)


def test_one_picture_a_class_has_0_however_different_the_classes():
    assert diversity(features(3)[LABELS], LABELS, features(8), LABELS) == 0


def test_classes_count_alike_whatever_their_size_and_missing_ones_do_not_count():
    real = torch.tensor([[0.0], [2.0], [0.0], [6.0], [0.0], [6.0], [5.0], [9.0]])
    real_labels = torch.tensor([0, 0, 1, 1, 1, 1, 2, 2])
    samples = torch.tensor([[0.0], [1.0], [0.0], [3.0], [3.0]])
    assert within_class_distances(real, real_labels) == {0: 2.0, 1: 4.0, 2: 4.0}
    assert diversity(samples, torch.tensor([0, 0, 1, 1, 2]), real, real_labels) == (1 + 3) / (2 + 4)


def test_no_class_to_compare_is_a_sentence():
    with pytest.raises(ValueError, match="diversity needs a class"):
        diversity(features(2), torch.tensor([0, 1]), features(2), torch.tensor([0, 0]))
