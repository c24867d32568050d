"""Classes, the null class and sinusoids as vectors; latents as tokens."""

import math

import pytest
import torch

from simflow.nn.embed import ClassEmbedding, PositionTable, sinusoids
from simflow.nn.tokens import to_latents, to_tokens


def test_a_null_row_is_the_last_of_the_table():
    embedding = ClassEmbedding(classes=3, width=4, null="row", std=1.0)
    assert embedding.table.shape == (4, 4)
    out = embedding(torch.tensor([0, 2, -1, -7]))
    assert torch.equal(out, embedding.table[[0, 2, 3, 3]])


def test_the_mean_of_the_table_has_a_gradient_for_every_class():
    embedding = ClassEmbedding(classes=3, width=4, null="mean", std=1.0)
    assert embedding.table.shape == (3, 4)
    out = embedding(torch.tensor([1, -1]))
    torch.testing.assert_close(out[0], embedding.table[1])
    torch.testing.assert_close(out[1], sum(embedding.table) / 3)
    out[1].sum().backward()
    torch.testing.assert_close(embedding.table.grad, torch.full((3, 4), 1 / 3))


def test_no_classes_leave_one_row():
    embedding = ClassEmbedding(classes=0, width=4, null="row", std=1.0)
    assert torch.equal(embedding(torch.tensor([-1, 0, 5])), embedding.table[[0, 0, 0]])


def test_the_table_has_the_standard_deviation_asked_for():
    table = ClassEmbedding(classes=1000, width=64, null="row", std=0.02).table
    assert table.std().item() == pytest.approx(0.02, rel=0.02)
    assert PositionTable(std=0.02).build(1000, 64).std().item() == pytest.approx(0.02, rel=0.02)


def test_sinusoids():
    out = sinusoids(torch.tensor([0.0, 2.0]), 4)
    expected = [[1, 1, 0, 0], [math.cos(2), math.cos(0.02), math.sin(2), math.sin(0.02)]]
    torch.testing.assert_close(out, torch.tensor(expected))


@pytest.mark.parametrize("patch", [1, 2, 3])
def test_tokens_are_channel_major_patches_in_raster_order(patch):
    c, rows, columns = 2, 2, 3
    latents = torch.randn(2, c, rows * patch, columns * patch)
    tokens = to_tokens(latents, patch)
    assert tokens.shape == (2, rows * columns, c * patch**2)
    for row in range(rows):
        for column in range(columns):
            square = latents[:, :, row * patch : (row + 1) * patch, column * patch : (column + 1) * patch]
            assert torch.equal(tokens[:, row * columns + column], square.flatten(1))
    assert torch.equal(to_latents(tokens, patch, (c, rows * patch, columns * patch)), latents)
