"""Orders of tokens are their own inverses, and alternate."""

import pytest
import torch

from simflow.flow.order import alternating, reorder


def test_the_first_block_walks_in_raster_order():
    assert alternating(1) == ("raster",)
    assert alternating(6) == ("raster", "reversed") * 3


@pytest.mark.parametrize("order", ["raster", "reversed"])
@pytest.mark.parametrize("shape", [(5, 3), (2, 5, 3), (1, 1, 1)])
def test_an_order_is_its_own_inverse(order, shape):
    x = torch.randn(shape)
    assert torch.equal(reorder(reorder(x, order), order), x)


def test_reversal_is_of_tokens_and_a_copy():
    x = torch.arange(6.0).reshape(1, 3, 2)
    back = reorder(x, "reversed")
    assert back.tolist() == [[[4.0, 5.0], [2.0, 3.0], [0.0, 1.0]]]
    back.zero_()
    assert x.any()
