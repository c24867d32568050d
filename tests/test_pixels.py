"""The conversion between bytes and [-1, 1]."""

import pytest
import torch

from simflow.pixels import require_signed, to_float, to_uint8


def levels():
    return torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)


def test_the_ends_and_the_step():
    signed = to_float(levels()).flatten()
    assert signed.dtype == torch.float32
    assert signed[0] == -1
    assert signed[255] == 1
    torch.testing.assert_close(signed.diff(), torch.full((255,), 1 / 127.5))


def test_all_levels_survive_the_journey():
    assert torch.equal(to_uint8(to_float(levels())), levels())


def test_to_float_leaves_its_argument_alone():
    images = levels()
    to_float(images)
    assert torch.equal(images, levels())


def test_values_out_of_range_are_clamped():
    images = torch.tensor([-9.0, -1.001, 1.001, 9.0]).reshape(1, 1, 2, 2)
    assert to_uint8(images).flatten().tolist() == [0, 0, 255, 255]


def test_the_nearest_level_is_taken_and_the_middle_goes_to_the_even_one():
    between = torch.tensor([0.4, 0.6, 126.6, 127.5, 254.4, 254.6]) / 127.5 - 1
    assert between[3] == 0  # the one value in range that lies exactly between two levels
    assert to_uint8(between.reshape(1, 1, 2, 3)).flatten().tolist() == [0, 1, 127, 128, 254, 255]


def test_bfloat16_is_widened_before_the_arithmetic():
    images = torch.linspace(-1, 1, 64).bfloat16().reshape(1, 1, 8, 8)
    assert torch.equal(to_uint8(images), to_uint8(images.double()))


def test_a_signed_image_passes():
    images = to_float(levels())
    assert require_signed(images) is images
    assert require_signed(images[:0]).shape == (0, *images.shape[1:])


@pytest.mark.parametrize("value", [-1.01, 1.01, 255.0, float("nan")])
def test_an_unsigned_image_does_not(value):
    images = torch.zeros(1, 1, 2, 2)
    images[0, 0, 1, 0] = value
    with pytest.raises(ValueError, match=r"\[-1, 1\]"):
        require_signed(images)
