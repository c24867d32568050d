"""The inception score at its ends, by its definition, and split by split."""

import math

import pytest
import torch

from simflow.evaluate.inception_score import inception_score


def random_probabilities(count=40, classes=5):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, classes, generator=generator, dtype=torch.float64).softmax(dim=1)


def test_a_classifier_that_hears_nothing_gives_1():
    assert inception_score(torch.full((20, 4), 0.25), splits=2) == pytest.approx((1, 0))


def test_certainty_and_balance_give_the_number_of_classes():
    assert inception_score(torch.eye(6).repeat(20, 1), splits=10) == pytest.approx((6, 0))


def test_one_class_gives_1_however_certain():
    assert inception_score(torch.eye(6)[[2] * 20], splits=1) == pytest.approx((1, 0))


def test_it_is_the_mean_divergence_from_the_mean():
    p = random_probabilities()
    mean = p.mean(0)
    divergences = [sum(float(q * (q / m).log()) for q, m in zip(row, mean, strict=True)) for row in p]
    assert inception_score(p, splits=1).mean == pytest.approx(math.exp(sum(divergences) / len(p)))


def test_splits_are_contiguous_and_their_spread_is_over_n():
    p = random_probabilities(41)
    scores = torch.tensor([inception_score(part, splits=1).mean for part in (p[:21], p[21:])]).double()
    result = inception_score(p, splits=2)
    assert result.mean == pytest.approx(scores.mean().item())
    assert result.std == pytest.approx((scores[0] - scores[1]).abs().item() / 2)
    parts = [p[4 * i + (i > 0) : 4 * i + 5] for i in range(10)]  # one of five samples, nine of four
    scores = [inception_score(part, splits=1).mean for part in parts]
    assert inception_score(p, splits=10).mean == pytest.approx(sum(scores) / 10)


@pytest.mark.parametrize(
    "p", [torch.ones(4, 2), torch.tensor([[1.5, -0.5]] * 4), torch.full((4, 2), torch.nan)]
)
def test_rows_that_are_no_distributions_are_a_sentence(p):
    with pytest.raises(ValueError, match="probabilities"):
        inception_score(p, splits=1)


@pytest.mark.parametrize("splits", [0, 41])
def test_impossible_splits_are_a_sentence(splits):
    with pytest.raises(ValueError, match="cannot be divided"):
        inception_score(random_probabilities(), splits=splits)
