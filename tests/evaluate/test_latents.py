"""The four statistics in known cases, and their order from a smooth field to white noise."""

import math

import pytest
import torch
from scipy.special import digamma

from simflow.evaluate.latents import (
    autocorrelation,
    describe,
    high_frequency_ratio,
    spectral_entropy,
    total_variation,
)


def white(count=64, channels=1, side=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, channels, side, side, generator=generator)


def wave(cycles, side=16, axis=3):
    line = torch.cos(2 * math.pi * cycles * torch.arange(side, dtype=torch.float64) / side)
    shape = (1, 1, 1, side) if axis == 3 else (1, 1, side, 1)
    return line.reshape(shape).expand(1, 1, side, side)


def smooth(latents):
    """A low-pass filter: the mean over 3 x 3 positions, thrice."""
    for _ in range(3):
        latents = torch.nn.functional.avg_pool2d(latents, 3, stride=1, padding=1)
    return latents


@pytest.mark.parametrize("channels", [1, 16])
def test_the_entropy_of_white_noise(channels):
    expected = 1 - (digamma(channels + 1) - math.log(channels)) / math.log(255)
    entropy = spectral_entropy(white(channels=channels)).mean().item()
    assert entropy == pytest.approx(expected, abs=0.004)


def test_the_entropy_of_a_wave_is_that_of_its_two_frequencies():
    assert spectral_entropy(wave(3)).item() == pytest.approx(math.log(2) / math.log(255))
    assert spectral_entropy(wave(8)).item() == pytest.approx(0, abs=1e-12)


def test_a_single_spike_has_all_frequencies_alike():
    spike = torch.zeros(1, 2, 8, 8)
    spike[0, 1, 3, 2] = 5
    assert spectral_entropy(spike).item() == pytest.approx(1)


def test_the_high_frequencies_of_white_noise_are_their_share_of_all():
    frequencies = [min(k, 16 - k) / 16 for k in range(16)]
    high = sum(math.hypot(f, g) > 0.25 for f in frequencies for g in frequencies)
    ratio = high_frequency_ratio(white(256)).mean().item()
    assert ratio == pytest.approx(high / 255, abs=0.005)


@pytest.mark.parametrize("axis", [2, 3])
@pytest.mark.parametrize(("cycles", "ratio"), [(1, 0), (4, 0), (5, 1), (8, 1)])
def test_a_wave_is_high_above_half_of_nyquist(cycles, ratio, axis):
    assert high_frequency_ratio(wave(cycles, axis=axis)).item() == pytest.approx(ratio, abs=1e-12)


def test_the_mean_of_a_grid_is_not_part_of_its_spectrum():
    x = white(3, side=8).double()
    torch.testing.assert_close(spectral_entropy(x + 5), spectral_entropy(x))
    torch.testing.assert_close(high_frequency_ratio(x + 5), high_frequency_ratio(x))


def test_the_total_variation_of_a_slope_is_its_mean_step():
    slope = torch.arange(4.0)[None, None, :, None] * 3 + torch.arange(5.0)[None, None, None, :]
    assert total_variation(slope).item() == pytest.approx((3 * 15 + 1 * 16) / 31)


def test_the_total_variation_of_white_noise():
    assert total_variation(white(256)).mean().item() == pytest.approx(2 / math.sqrt(math.pi), abs=0.01)


def test_the_autocorrelation_of_white_noise():
    assert autocorrelation(white(4000, 4, 4)).mean().item() == pytest.approx(-1 / 15, abs=0.004)


def test_autocorrelation_follows_the_raster_order():
    rows = torch.tensor([1.0, -1.0]).repeat(8)[None, None, :, None].expand(1, 1, 16, 16)
    assert autocorrelation(rows, lag=1).item() > 0.8
    assert autocorrelation(rows, lag=16).item() == pytest.approx(-1)
    assert autocorrelation(rows, lag=32).item() == pytest.approx(1)
    assert autocorrelation(rows.mT, lag=1).item() == pytest.approx(-1)


def test_autocorrelation_is_the_dull_sum():
    x = white(1, 3, 3).double()
    tokens = [x[0, :, i, j] for i in range(3) for j in range(3)]
    mean = sum(tokens) / 9
    together = sum(float((tokens[t] - mean) @ (tokens[t + 2] - mean)) for t in range(7)) / 7
    alone = sum(float((token - mean) @ (token - mean)) for token in tokens) / 9
    assert autocorrelation(x, lag=2).item() == pytest.approx(together / alone)


@pytest.mark.parametrize("value", [0.0, 0.1, -123.4])
def test_a_grid_without_variation_is_perfectly_simple(value):
    flat = torch.full((2, 3, 7, 5), value)
    assert spectral_entropy(flat).tolist() == [0, 0]
    assert high_frequency_ratio(flat).tolist() == [0, 0]
    assert total_variation(flat).tolist() == [0, 0]
    assert autocorrelation(flat).tolist() == [1, 1]


def test_white_noise_is_harder_than_a_smooth_field_by_all_four():
    noise, field = describe(white(channels=4)), describe(smooth(white(channels=4)))
    assert noise.spectral_entropy > field.spectral_entropy + 0.1
    assert noise.high_frequency_ratio > field.high_frequency_ratio + 0.3
    assert noise.total_variation > field.total_variation + 0.5
    assert noise.autocorrelation < field.autocorrelation - 0.5


def test_the_record_does_not_depend_on_the_scale():
    small, large = describe(white(channels=2)), describe(1000 * white(channels=2))
    assert vars(small) == pytest.approx(vars(large), rel=1e-5)


def test_the_variation_is_told_in_standard_deviations_of_all_numbers():
    """Also where each position has a mean of its own, which is most of their spread."""
    x = white(8) + 10 * white(1, seed=1)
    expected = total_variation(x).mean().item() / x.std().item()
    assert describe(x).total_variation == pytest.approx(expected, rel=1e-5)


def test_too_little_to_describe_is_a_sentence():
    with pytest.raises(ValueError, match="at least one latent"):
        describe(torch.zeros(4, 3, 1, 2))
