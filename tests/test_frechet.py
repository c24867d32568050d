"""Fréchet distances of known Gaussians, against a general matrix square root, and from any split of the data."""

import numpy as np
import pytest
import scipy.linalg
import torch

from simflow.frechet import Gaussian, Moments, frechet_distance


def features(count, dimension=6, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(dimension, dimension, generator=generator, dtype=torch.float64)
    return scale * torch.randn(count, dimension, generator=generator, dtype=torch.float64) @ mix + seed


def moments(x, splits=1):
    found = Moments(x.shape[1])
    for part in x.tensor_split(splits):
        found.add(part)
    return found


def gaussian(mean, variances):
    return Gaussian(torch.tensor(mean).double(), torch.diag(torch.tensor(variances).double()))


def test_gaussians_of_diagonal_covariance():
    one, other = gaussian([0.0, 1.0, 2.0], [1.0, 4.0, 9.0]), gaussian([1.0, 1.0, 4.0], [4.0, 4.0, 0.25])
    result = frechet_distance(one, other)
    assert result.means == pytest.approx(1 + 4)
    assert result.covariances == pytest.approx((1 - 2) ** 2 + (3 - 0.5) ** 2)
    assert result.distance == result.means + result.covariances


def test_commuting_covariances_in_any_basis():
    basis, _ = torch.linalg.qr(features(5, 5))
    a, b = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]).double(), torch.tensor([9.0, 1.0, 1.0, 0.5, 2.0]).double()
    zero = torch.zeros(5, dtype=torch.float64)
    one, other = (Gaussian(zero, basis @ torch.diag(v) @ basis.T) for v in (a, b))
    expected = (a.sqrt() - b.sqrt()).square().sum().item()
    assert frechet_distance(one, other).distance == pytest.approx(expected)


def test_it_is_that_of_a_general_matrix_square_root():
    one, other = moments(features(500)).gaussian(), moments(features(400, seed=1)).gaussian()
    root = scipy.linalg.sqrtm((one.covariance @ other.covariance).numpy())
    assert np.abs(np.imag(root)).max() < 1e-8
    expected = (one.mean - other.mean).square().sum() + (one.covariance + other.covariance).trace()
    expected = expected.item() - 2 * np.trace(np.real(root))
    assert frechet_distance(one, other).distance == pytest.approx(expected, rel=1e-9)


def test_it_is_symmetric_and_zero_for_equals():
    one, other = moments(features(50)).gaussian(), moments(features(60, seed=1)).gaussian()
    there, back = frechet_distance(one, other), frechet_distance(other, one)
    assert there.distance == pytest.approx(back.distance, rel=1e-10)
    assert 0 <= frechet_distance(one, one).distance < 1e-9


def test_singular_covariances_are_exact_and_flagged():
    """All variance on one line each, at an angle: the square root of the product is their overlap."""
    direction = torch.tensor([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0]]).double()
    zero = torch.zeros(3, dtype=torch.float64)
    one, other = (Gaussian(zero, v * torch.outer(d, d)) for v, d in zip((4.0, 9.0), direction, strict=True))
    assert frechet_distance(one, other).distance == pytest.approx(4 + 9 - 2 * 2 * 3 * 0.6)
    few, many = moments(features(6)).gaussian(), moments(features(7)).gaussian()
    assert few.rank_deficient
    assert not many.rank_deficient
    assert frechet_distance(few, many).rank_deficient
    assert frechet_distance(many, few).rank_deficient
    assert not frechet_distance(many, many).rank_deficient
    assert frechet_distance(few, few).distance < 1e-6


@pytest.mark.parametrize("splits", [1, 2, 7, 100])
def test_moments_are_those_of_numpy_whatever_the_batches(splits):
    x = features(100)
    found = moments(x, splits).gaussian()
    np.testing.assert_allclose(found.mean.numpy(), x.mean(0).numpy(), rtol=1e-12)
    np.testing.assert_allclose(found.covariance.numpy(), np.cov(x.numpy(), rowvar=False), rtol=1e-10)


def test_a_large_offset_costs_no_digits():
    x = features(1000).float().double()
    near, far = moments(x, 10).gaussian(), moments(x + 2.0**26, 10).gaussian()
    torch.testing.assert_close(near.covariance, far.covariance, rtol=1e-6, atol=1e-6)


def test_features_of_half_the_width_are_gathered_in_full():
    x = (features(1000) + 1000).float()
    found, exact = moments(x, 10).gaussian(), moments(x.double()).gaussian()
    torch.testing.assert_close(found.covariance, exact.covariance, rtol=1e-10, atol=1e-10)


def test_rounding_in_empty_directions_is_no_overlap():
    """Two lines among 300 dimensions: the roots of eigenvalues that are but rounding would add up."""
    a, b = torch.linalg.qr(features(300, 2)).Q.T
    zero = torch.zeros(300, dtype=torch.float64)
    one, other = (Gaussian(zero, v * torch.outer(d, d)) for v, d in ((4.0, a), (9.0, 0.6 * a + 0.8 * b)))
    assert frechet_distance(one, other).distance == pytest.approx(4 + 9 - 2 * 2 * 3 * 0.6, abs=1e-9)


def test_merging_is_adding_and_empty_batches_do_not_matter():
    x = features(90)
    whole, left, right = moments(x), moments(x[:37]), moments(x[37:])
    left.add(x[:0])
    left.merge(Moments(6))
    left.merge(right)
    assert left.count == 90
    torch.testing.assert_close(left.mean, whole.mean)
    torch.testing.assert_close(left.scatter, whole.scatter)
    empty = Moments(6)
    empty.merge(whole)
    torch.testing.assert_close(empty.gaussian().covariance, whole.gaussian().covariance)


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_images_are_a_sentence(count):
    with pytest.raises(ValueError, match=f"at least 2 images, and there are {count}"):
        moments(features(count)).gaussian()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_feature_that_is_no_number_is_a_sentence(value):
    x = features(5)
    x[2, 3] = value
    with pytest.raises(ValueError, match="infinite or not a number"):
        moments(x)


def test_other_dimensions_are_a_sentence():
    with pytest.raises(ValueError, match="cannot join"):
        Moments(3).add(features(4))
    with pytest.raises(ValueError, match="no Fréchet distance"):
        frechet_distance(gaussian([0.0], [1.0]), gaussian([0.0, 0.0], [1.0, 1.0]))
