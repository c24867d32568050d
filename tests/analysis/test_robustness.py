"""Noise on latents and the ways between them, with decoders whose answers are known."""

import math

import pytest
import torch

from simflow.analysis.interpolation import interpolation
from simflow.analysis.latent_space import latent_space, noise_std
from simflow.analysis.robustness import noisy, robustness, scale_of, strip
from simflow.pixels import to_uint8
from simflow.seeding import generator


def gray(count: int = 6, side: int = 32) -> torch.Tensor:
    """Images near middle gray, so that nothing is clamped: they are their own latents."""
    return 0.1 * torch.randn(count, 1, side, side, generator=generator("gray"))


def test_the_identity_has_the_error_of_the_noise():
    means = gray()
    found = robustness(lambda z: z, means, to_uint8(means), levels=(0.0, 0.5, 1.0, 2.0))
    assert found.scale == pytest.approx(0.1, rel=0.02)
    assert found.psnr[0] is None  # exactly the original
    for level, decibels in zip(found.levels[1:], found.psnr[1:], strict=True):
        expected = -10 * math.log10((level * found.scale) ** 2 / 4)
        assert decibels == pytest.approx(expected, abs=0.1)
    assert found.ssim[0] == pytest.approx(1)
    assert list(found.ssim) == sorted(found.ssim, reverse=True)


def test_levels_are_in_the_latents_own_unit():
    means = gray()
    one = robustness(lambda z: z, means, to_uint8(means), levels=(1.0,), own_std=0.05)
    other = robustness(lambda z: z / 100, 100 * means, to_uint8(means), levels=(1.0,), own_std=5.0)
    assert one.psnr[0] == pytest.approx(other.psnr[0], abs=1e-3)
    assert one.own_level == pytest.approx(other.own_level)
    assert one.own_level == pytest.approx(0.5, rel=0.02)


def test_a_decoder_that_averages_is_more_robust():
    means = gray().expand(-1, 4, -1, -1)
    levels = (0.5, 1.0)
    one = robustness(lambda z: z[:, :1], means, to_uint8(gray()), levels=levels)
    four = robustness(lambda z: z.mean(1, keepdim=True), means, to_uint8(gray()), levels=levels)
    for a, b in zip(one.psnr, four.psnr, strict=True):
        assert b - a == pytest.approx(10 * math.log10(4), abs=0.2)


def test_the_batch_changes_nothing():
    means = gray()
    whole, single = (
        robustness(lambda z: z, means, to_uint8(means), levels=(1.0,), batch=batch) for batch in (6, 1)
    )
    assert whole == single


def test_noise_is_the_same_at_all_levels_and_another_for_each_image_and_seed():
    means = torch.zeros(2, 1, 4, 4)
    one = noisy(means, 1.0, seed=0)
    torch.testing.assert_close(noisy(means, 3.0, seed=0), 3 * one)
    assert not torch.equal(one[0], one[1])
    assert not torch.equal(one, noisy(means, 1.0, seed=1))


@pytest.mark.parametrize("levels", [(), (-1.0,)])
def test_levels_are_checked(levels):
    with pytest.raises(ValueError, match="noise levels"):
        robustness(lambda z: z, gray(), to_uint8(gray()), levels=levels)


def test_collapsed_latents_have_no_scale():
    with pytest.raises(ValueError, match="do not vary"):
        scale_of(torch.ones(3, 1, 2, 2))


def test_the_strip_shows_originals_and_every_level():
    means = gray(3, 8)
    picture = strip(lambda z: z, means, to_uint8(means), levels=(0.0, 2.0))
    assert picture.captions == ("original", "noise 0", "noise 2")
    assert picture.images.shape == (3, 3, 1, 8, 8)
    assert torch.equal(picture.images[0], picture.images[1])
    assert not torch.equal(picture.images[0], picture.images[2])


def test_interpolations_are_straight_and_have_both_originals():
    means = torch.tensor([-1.0, 1.0, 0.0, 0.5]).reshape(4, 1, 1, 1).expand(-1, 1, 4, 4)
    originals = torch.full((4, 1, 4, 4), 7, dtype=torch.uint8)
    picture = interpolation(lambda z: z, means, originals, steps=3, captions=("first", "second"))
    assert picture.images.shape == (2, 5, 1, 4, 4)
    assert picture.images[0, :, 0, 0, 0].tolist() == [7, 0, 128, 255, 7]
    assert picture.images[1, :, 0, 0, 0].tolist() == [7, 128, 159, 191, 7]
    with pytest.raises(ValueError, match="at least 2 steps"):
        interpolation(lambda z: z, means, originals, steps=1, captions=("first",))


def test_the_latent_space_knows_its_noise_and_white_noise():
    means = torch.linspace(-1, 1, 8).reshape(1, 1, 1, 8).expand(20, 4, 8, 8) + 0.3 * torch.randn(20, 4, 1, 1)
    drawn = means + 0.5 * torch.randn(means.shape)
    space = latent_space(means, drawn)
    assert space.shape == (4, 8, 8)
    assert space.noise_std == pytest.approx(noise_std(means, drawn))
    assert space.noise_std == pytest.approx(0.5, rel=0.05)
    assert space.mean_std == pytest.approx(means.numpy().std(), rel=1e-6)
    for easy, hard in ((space.means, space.drawn), (space.drawn, space.white)):
        assert easy.spectral_entropy < hard.spectral_entropy
        assert easy.high_frequency_ratio < hard.high_frequency_ratio
        assert easy.total_variation < hard.total_variation
        assert easy.autocorrelation > hard.autocorrelation
