"""Errors in known cases, and SSIM against its definition written out position by position."""

import math

import pytest
import torch

from simflow.evaluate.ms_ssim import ms_ssim
from simflow.evaluate.reconstruction import compare, psnr, squared_error, ssim


def random_images(count=2, channels=1, height=14, width=13, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, channels, height, width), generator=generator, dtype=torch.uint8)


def constant(level, channels=1):
    return torch.full((1, channels, 16, 16), level, dtype=torch.uint8)


def dull_ssim(x, y):
    """One channel, one window at a time, in Python numbers."""
    weights = [
        [math.exp(-((i - 5) ** 2 + (j - 5) ** 2) / (2 * 1.5**2)) for j in range(11)] for i in range(11)
    ]
    total = sum(map(sum, weights))
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = []
    for top in range(len(x) - 10):
        for left in range(len(x[0]) - 10):
            places = [(weights[i][j] / total, top + i, left + j) for i in range(11) for j in range(11)]
            mx = sum(w * x[i][j] for w, i, j in places)
            my = sum(w * y[i][j] for w, i, j in places)
            vx = sum(w * (x[i][j] - mx) ** 2 for w, i, j in places)
            vy = sum(w * (y[i][j] - my) ** 2 for w, i, j in places)
            s = sum(w * (x[i][j] - mx) * (y[i][j] - my) for w, i, j in places)
            values.append((2 * mx * my + c1) * (2 * s + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    return sum(values) / len(values)


def test_black_against_white_is_the_largest_error():
    assert squared_error(constant(0), constant(255)).item() == 4
    assert psnr(constant(0), constant(255)).item() == pytest.approx(0)


def test_a_shift_by_one_level():
    assert psnr(constant(7), constant(8)).item() == pytest.approx(20 * math.log10(255))
    assert squared_error(constant(7), constant(8)).item() == pytest.approx((1 / 127.5) ** 2)


def test_bytes_do_not_wrap_around():
    assert torch.equal(squared_error(constant(3), constant(200)), squared_error(constant(200), constant(3)))


def test_each_image_has_its_own_figure():
    x = random_images(3)
    y = torch.stack([x[0], 255 - x[1], x[2] // 2])
    for figure in (squared_error, psnr, ssim):
        for index in range(3):
            one = figure(x[index : index + 1], y[index : index + 1])
            torch.testing.assert_close(figure(x, y)[index : index + 1], one)


def test_equal_images():
    x = random_images(channels=3)
    assert squared_error(x, x).tolist() == [0, 0]
    assert psnr(x, x).tolist() == [math.inf, math.inf]
    torch.testing.assert_close(ssim(x, x), torch.ones(2, dtype=torch.float64))


def test_ssim_is_its_definition_and_the_mean_over_channels():
    x, y = random_images(1, 2), random_images(1, 2, seed=1)
    y = (y // 2 + x // 2).to(torch.uint8)
    by_channel = [dull_ssim(x[0, channel].tolist(), y[0, channel].tolist()) for channel in range(2)]
    assert ssim(x, y).item() == pytest.approx(sum(by_channel) / 2, abs=1e-10)
    assert 0.2 < ssim(x, y).item() < 0.95


def test_ssim_is_symmetric():
    x, y = random_images(), random_images(seed=1)
    torch.testing.assert_close(ssim(x, y), ssim(y, x))


def test_ssim_of_constant_images_is_the_luminance_term():
    c1 = (0.01 * 255) ** 2
    expected = (2 * 50 * 90 + c1) / (50**2 + 90**2 + c1)
    assert ssim(constant(50, 3), constant(90, 3)).item() == pytest.approx(expected)


def test_ssim_of_a_negative_is_negative():
    board = 255 * ((torch.arange(16)[:, None] + torch.arange(16)) % 2).to(torch.uint8)[None, None]
    assert ssim(board, 255 - board).item() < -0.9


def test_ssim_of_images_below_the_window_is_a_sentence():
    with pytest.raises(ValueError, match="at least 11 x 11"):
        ssim(random_images(height=10), random_images(height=10))


def test_ms_ssim_of_constant_images_is_their_luminance_at_the_coarsest_scale():
    near, far = (torch.full((1, 1, 176, 176), level, dtype=torch.uint8) for level in (50, 90))
    c1 = (0.01 * 255) ** 2
    luminance = (2 * 50 * 90 + c1) / (50**2 + 90**2 + c1)
    assert ms_ssim(near, far).item() == pytest.approx(luminance**0.1333)


def checkered(side):
    """Gray squares of this side a little lighter and darker in turn."""
    row = torch.arange(176) // side % 2
    return (128 + 20 * (2 * ((row[:, None] + row) % 2) - 1)).to(torch.uint8)[None, None]


def test_ms_ssim_has_the_weights_of_wang_at_the_scale_where_a_pattern_is_lost():
    """Halving makes squares half as large, and gray those of one pixel; against gray a pattern has no structure."""
    gray = torch.full((1, 1, 176, 176), 128, dtype=torch.uint8)
    similar = {side: math.log(ssim(gray, checkered(side)).item()) for side in (1, 2, 4, 8)}
    finer: list[int] = []
    for side, weight in ((1, 0.0448), (2, 0.2856), (4, 0.3001), (8, 0.2363)):
        seen = math.log(ms_ssim(gray, checkered(side)).item())
        known = zip((0.0448, 0.2856, 0.3001), reversed(finer), strict=False)
        before = sum(w * similar[2 * other] for w, other in known)
        assert (seen - before) / similar[1] == pytest.approx(weight, rel=0.02)
        finer.append(side)


def test_ms_ssim_of_opposite_structure_is_zero():
    noise = random_images(height=176, width=176)
    assert ms_ssim(noise, 255 - noise).tolist() == [0, 0]


def test_the_record_holds_means_over_images_whatever_the_batch():
    x, y = random_images(5), random_images(5, seed=1)
    record = compare(x, y, batch=2)
    assert record.mse == pytest.approx(squared_error(x, y).mean().item())
    assert record.psnr == pytest.approx(psnr(x, y).mean().item())
    assert record.ssim == pytest.approx(ssim(x, y).mean().item())
    assert compare(x[..., :8], y[..., :8]).ssim is None
