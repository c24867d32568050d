"""The kernel distance: by the dull double loop, in closed form, and unbiased."""

from statistics import fmean, stdev

import pytest
import torch

from simflow.evaluate.kernel import kernel_distance, squared_mmd
from simflow.seeding import generator


def normal(count, seed=0, shift=0.0):
    return shift + torch.randn(count, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def kernel(x, y):
    return (float(x @ y) / len(x) + 1) ** 3


def test_the_dull_double_loop():
    x, y = normal(7), normal(9, seed=1, shift=0.5)
    xx = [kernel(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j]
    yy = [kernel(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j]
    xy = [kernel(a, b) for a in x for b in y]
    expected = sum(xx) / len(xx) + sum(yy) / len(yy) - 2 * sum(xy) / len(xy)
    assert squared_mmd(x, y) == pytest.approx(expected)


def test_two_points():
    a, b = torch.ones(4, 2), torch.full((3, 2), 2.0)
    assert squared_mmd(a, b) == pytest.approx(2**3 + 5**3 - 2 * 3**3)


def test_it_is_unbiased_where_distributions_are_equal_and_positive_where_not():
    same = [squared_mmd(normal(20, seed), normal(20, 1000 + seed)) for seed in range(200)]
    values = torch.tensor(same)
    assert abs(values.mean()) < 3 * values.std() / len(values) ** 0.5
    assert (values < 0).any()
    assert squared_mmd(normal(200), normal(200, 1, shift=1.0)) > 1


def test_one_subset_of_everything_is_all_there_is():
    x, y = normal(30), normal(30, 1, shift=0.3)
    result = kernel_distance(x, y, generator(0), subsets=1, size=30)
    assert result.mean == pytest.approx(squared_mmd(x, y))
    assert result.std == 0


def test_subsets_are_the_generators_and_average_to_the_whole():
    x, y = normal(60), normal(80, 1, shift=0.5)
    first, again, other = (kernel_distance(x, y, generator(s), subsets=100, size=20) for s in (0, 0, 1))
    assert first == again != other
    assert first.std > 0
    assert first.mean == pytest.approx(squared_mmd(x, y), abs=4 * first.std / 10)


def test_the_spread_over_subsets_is_that_of_a_sample():
    x, y, draws = normal(60), normal(80, 1), generator(0)
    singles = [kernel_distance(x, y, draws, subsets=1, size=20).mean for _ in range(3)]
    found = kernel_distance(x, y, generator(0), subsets=3, size=20)
    assert found == pytest.approx((fmean(singles), stdev(singles)))


@pytest.mark.parametrize(("size", "subsets"), [(31, 1), (1, 1), (10, 0)])
def test_impossible_subsets_are_a_sentence(size, subsets):
    with pytest.raises(ValueError, match="subset"):
        kernel_distance(normal(30), normal(40), generator(0), subsets=subsets, size=size)


def test_one_image_is_a_sentence():
    with pytest.raises(ValueError, match="at least two images"):
        squared_mmd(normal(1), normal(5))
