"""Normality plots of noise that is normal, too wide, or wrong in a way that cancels."""

import numpy as np
import pytest
import torch

from simflow.analysis.gaussianity import POINTS, gaussianity


def normal(images: int = 2000, tokens: int = 8, numbers: int = 8) -> torch.Tensor:
    return torch.randn(images, tokens, numbers, dtype=torch.float64)


def test_normal_noise_lies_on_the_diagonal():
    found = gaussianity(normal())
    assert (found.images, found.numbers, len(found.expected)) == (2000, 64, POINTS)
    np.testing.assert_allclose(found.pooled, found.expected, atol=0.1)
    middle = slice(20, 41)
    for curve in (found.means, found.variances, found.kurtoses):
        np.testing.assert_allclose(curve[middle], found.expected[middle], atol=0.5)
    assert found.normality.mean == pytest.approx(1, abs=0.3)


def test_wide_noise_is_steep():
    found = gaussianity(2 * normal())
    np.testing.assert_allclose(found.pooled, 2 * np.array(found.expected), atol=0.2)
    assert min(found.variances) > 10


def test_shifts_that_cancel_are_seen_number_by_number_only():
    z = normal()
    z[:, ::2] += 0.15
    z[:, 1::2] -= 0.15
    found = gaussianity(z)
    np.testing.assert_allclose(found.pooled, found.expected, atol=0.15)
    assert found.means[0] < -5
    assert found.means[-1] > 5


def test_one_image_has_no_moments():
    with pytest.raises(ValueError, match="at least two"):
        gaussianity(normal(1))
