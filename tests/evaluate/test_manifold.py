"""Precision, recall, density and coverage: on a line by hand, by the dull double loop, and in blocks."""

import pytest
import torch

from simflow.evaluate import manifold
from simflow.evaluate.manifold import compare, radii


def normal(count, seed=0, shift=0.0, scale=1.0):
    return shift + scale * torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))


def dull(real, samples, k):
    def ball_radii(points):
        return [
            sorted((p - q).norm().item() for j, q in enumerate(points) if j != i)[k - 1]
            for i, p in enumerate(points)
        ]

    real_radii, sample_radii = ball_radii(real), ball_radii(samples)
    near = [[(x - y).norm().item() for y in samples] for x in real]
    n, m = len(real), len(samples)
    inside = [[near[i][j] <= real_radii[i] for j in range(m)] for i in range(n)]
    return (
        sum(any(inside[i][j] for i in range(n)) for j in range(m)) / m,
        sum(any(near[i][j] <= sample_radii[j] for j in range(m)) for i in range(n)) / n,
        sum(map(sum, inside)) / (k * m),
        sum(map(any, inside)) / n,
    )


def test_points_on_a_line():
    real = torch.tensor([[0.0], [1.0], [3.0], [10.0]])
    samples = torch.tensor([[0.5], [3.5], [30.0], [31.0]])
    assert radii(real, k=1).tolist() == [[1, 1, 2, 7]]
    result = compare(real, samples, k=1)
    assert result.precision == 2 / 4
    assert result.recall == 3 / 4
    assert result.density == (2 + 2) / 4
    assert result.coverage == 4 / 4


def test_balls_hold_their_edges():
    result = compare(torch.tensor([[0.0], [2.0], [8.0]]), torch.tensor([[-3.0], [-2.0], [3.0]]), k=1)
    assert radii(torch.tensor([[-3.0], [-2.0], [3.0]]), k=1).tolist() == [[1, 1, 5]]
    assert (result.precision, result.recall) == (2 / 3, 1)


def test_a_large_offset_changes_nothing():
    real, samples = ((8 * normal(60, seed)).round() for seed in (0, 1))
    assert compare(real + 2.0**14, samples + 2.0**14) == compare(real, samples)


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("shift", [0.0, 1.5])
def test_the_dull_double_loop(k, shift):
    real, samples = normal(23), normal(17, seed=1, shift=shift, scale=0.7)
    assert compare(real, samples, k=k) == pytest.approx(dull(real, samples, k))


def test_blocks_change_nothing(monkeypatch):
    real, samples = normal(23), normal(17, seed=1)
    whole = compare(real, samples)
    monkeypatch.setattr(manifold, "ROWS", 5)
    assert compare(real, samples) == whole


def test_equal_sets_have_all_and_distant_ones_nothing():
    x = normal(40)
    same = compare(x, x)
    assert (same.precision, same.recall, same.coverage) == (1, 1, 1)
    assert same.density > 1
    assert compare(x, x + 100) == (0, 0, 0, 0)


def test_samples_in_a_corner_have_precision_without_recall():
    result = compare(normal(300), normal(300, seed=1, scale=0.2))
    assert result.precision > 0.95
    assert result.recall < 0.1
    assert result.coverage < 0.6


@pytest.mark.parametrize(("real", "samples", "k"), [(3, 9, 3), (9, 3, 3), (9, 9, 0)])
def test_too_few_images_are_a_sentence(real, samples, k):
    with pytest.raises(ValueError, match="need more than"):
        compare(normal(real), normal(samples), k=k)
