"""Pooled pixels are means over squares, in the order channel, row, column."""

import pytest
import torch

from simflow.evaluate.features import pool_for, pooled_pixels


def test_means_over_squares_in_order():
    images = torch.randint(256, (2, 3, 4, 6), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    features = pooled_pixels(images)
    assert features.shape == (2, 3 * 2 * 3)
    for channel in range(3):
        for row in range(2):
            for column in range(3):
                square = images[1, channel, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].float()
                got = features[1, channel * 6 + row * 3 + column]
                torch.testing.assert_close(got, square.mean() / 127.5 - 1)


def test_black_is_minus_one_and_white_is_one():
    images = torch.tensor([0, 255], dtype=torch.uint8).reshape(2, 1, 1, 1).expand(2, 1, 4, 4)
    assert torch.equal(pooled_pixels(images, pool=4), torch.tensor([[-1.0], [1.0]]))


@pytest.mark.parametrize(("size", "pool"), [(16, 2), (28, 2), (32, 2), (48, 2), (64, 4), (256, 16), (33, 1)])
def test_the_pooling_of_a_side(size, pool):
    assert pool_for(size) == pool


def test_squares_that_do_not_fill_the_image_are_a_sentence():
    with pytest.raises(ValueError, match="do not fill"):
        pooled_pixels(torch.zeros(1, 1, 4, 5, dtype=torch.uint8))
