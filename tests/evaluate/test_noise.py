"""Moments in known cases; standard normal noise has no misfit and every other kind has its own."""

import math

import pytest
import torch

from simflow.evaluate.noise import NoiseMoments, noise_moments, normality


def normal(images=4000):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(images, 16, 8, generator=generator, dtype=torch.float64)


def test_moments_of_two_values():
    z = torch.tensor([3.0, 7.0, 3.0, 7.0]).reshape(4, 1, 1)
    moments = noise_moments(z)
    assert moments.images == 4
    assert moments.mean.item() == 5
    assert moments.variance.item() == pytest.approx(16 / 3)
    assert moments.excess_kurtosis.item() == pytest.approx(-2)


def test_each_number_has_its_own_moments():
    z = normal(500) * torch.arange(1, 9) + torch.arange(16)[:, None]
    moments = noise_moments(z)
    torch.testing.assert_close(moments.mean, z.mean(0))
    torch.testing.assert_close(moments.variance, z.var(0))


@pytest.mark.parametrize("images", [300, 4000])
def test_standard_normal_noise_deviates_by_about_one_standard_error(images):
    summary = normality(noise_moments(normal(images)))
    assert vars(summary) == pytest.approx({"mean": 1, "variance": 1, "excess_kurtosis": 1}, abs=0.25)


def test_the_summary_is_in_standard_errors():
    one = torch.tensor([[0.0, 2.0]], dtype=torch.float64)
    moments = NoiseMoments(mean=3 * one, variance=1 + 5 * one, excess_kurtosis=7 * one, images=96)
    root = math.sqrt(2)  # the root mean square of 0 and 2
    summary = normality(moments)
    assert summary.mean == pytest.approx(3 * root * math.sqrt(96))
    assert summary.variance == pytest.approx(5 * root * math.sqrt(48))
    assert summary.excess_kurtosis == pytest.approx(7 * root * 2)


def test_each_misfit_shows_in_its_own_moment():
    z = normal()
    shifted = normality(noise_moments(z + 0.2))
    assert shifted.mean == pytest.approx(0.2 * math.sqrt(4000), rel=0.1)
    assert max(shifted.variance, shifted.excess_kurtosis) < 1.3
    wide = normality(noise_moments(1.2 * z))
    assert wide.variance == pytest.approx(0.44 * math.sqrt(2000), rel=0.1)
    assert max(wide.mean, wide.excess_kurtosis) < 1.3
    uniform = normality(noise_moments((torch.special.ndtr(z) - 0.5) * math.sqrt(12)))
    assert uniform.excess_kurtosis == pytest.approx(1.2 * math.sqrt(4000 / 24), rel=0.1)
    assert max(uniform.mean, uniform.variance) < 1.3


def test_one_image_is_a_sentence():
    with pytest.raises(ValueError, match="at least two images"):
        noise_moments(torch.zeros(1, 2, 2))
