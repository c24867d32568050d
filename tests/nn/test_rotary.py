"""Rotary positions: products of queries and keys see differences of rows and columns only."""

import math

import pytest
import torch

from simflow.nn.rotary import Rotary, rotate

GRID = (3, 4)


def table(*, prefix=0, dtype=torch.float64, **choices):
    return Rotary(**choices).rotation(
        grid=GRID, head_size=16, prefix=prefix, dtype=dtype, device=torch.device("cpu")
    )


def products(rotation):
    """Products of one query and one key at all pairs of positions ``(n, n)``."""
    q, k = (torch.randn(1, 1, 1, 16).double().expand(1, 1, len(rotation.cos), 16) for _ in range(2))
    return (rotate(q, rotation) @ rotate(k, rotation).transpose(-1, -2))[0, 0]


def test_products_depend_on_row_and_column_differences():
    seen = {}
    dots = products(table())
    places = [(i // 4, i % 4) for i in range(12)]
    for i, (r, c) in enumerate(places):
        for j, (s, d) in enumerate(places):
            seen.setdefault((r - s, c - d), []).append(dots[i, j].item())
    assert len(seen) == 5 * 7
    means = [sum(values) / len(values) for values in seen.values()]
    for values, mean in zip(seen.values(), means, strict=True):
        assert max(abs(value - mean) for value in values) < 1e-12
    assert min(abs(a - b) for i, a in enumerate(means) for b in means[:i]) > 1e-6


def test_angles_are_rows_and_columns_times_the_frequencies():
    rotation = table(base=100.0)
    angles = torch.atan2(rotation.sin, rotation.cos)
    frequencies = torch.tensor([1.0, 100**-0.25, 0.1, 100**-0.75], dtype=torch.float64)
    torch.testing.assert_close(angles[1 * 4 + 3], torch.cat([1 * frequencies, 3 * frequencies]))


def test_prefix_and_still_numbers_do_not_turn():
    rotation = table(prefix=1, still=8)
    x = torch.randn(2, 3, 13, 16).double()
    turned = rotate(x, rotation)
    assert turned[:, :, 0].equal(x[:, :, 0])
    assert turned[..., 8:].equal(x[..., 8:])
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    assert not torch.isclose(turned[:, :, 2:, :8], x[:, :, 2:, :8]).all()


def test_pairs_are_neighbours():
    rotation = table()
    x = torch.zeros(1, 1, 12, 16).double()
    x[..., 0] = 1.0
    turned = rotate(x, rotation)[0, 0, 4]
    torch.testing.assert_close(turned[:2], torch.tensor([math.cos(1), math.sin(1)], dtype=torch.float64))
    assert turned[2:].abs().max() == 0


def test_a_window_holds_the_angles_of_its_tokens():
    rotation = table()
    assert rotation.window(3, 2).cos.equal(rotation.cos[3:5])


def test_low_precision_is_turned_in_the_precision_of_the_table():
    x = torch.randn(1, 1, 12, 16, dtype=torch.bfloat16)
    rotation = table(dtype=torch.float32)
    assert rotate(x, rotation).equal(rotate(x.float(), rotation).bfloat16())


@pytest.mark.parametrize("still", [2, 16, 32])
def test_heads_that_cannot_be_shared_by_two_axes_are_refused(still):
    with pytest.raises(ValueError, match="multiple of 4 turning numbers"):
        table(still=still)
