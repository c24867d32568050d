"""Jacobi passes give the inverse of the dullest loop: to the bit of rounding, or within the stated tolerance."""

from dataclasses import replace

import pytest
import torch

from simflow.flow.decode import SEQUENTIAL, ways
from simflow.flow.guidance import GaussianProduct, LogScale
from simflow.flow.jacobi import Jacobi, solve
from simflow.flow.order import reorder
from tests.laws.cases import FLOWS, build, dull_inverse, labels_for, noise_for

VARIED = ["adaln-unchanged-exp", "tarflow", "starflow", "prefix", "rotary", "one learned block"]


@pytest.mark.parametrize("window", [None, 4, 1])
@pytest.mark.parametrize("name", FLOWS)
def test_without_tolerance_it_is_the_dullest_loop(name, window):
    flow, labels = build(FLOWS[name]), labels_for()
    z = noise_for(flow)
    given = z.clone()
    found = flow.inverse(z, labels, None, Jacobi(window=window, tolerance=0.0))
    assert torch.equal(z, given), "the noise was written to"
    torch.testing.assert_close(found, dull_inverse(flow, z, labels), atol=1e-10, rtol=1e-10)


def test_a_window_takes_as_many_passes_as_it_has_tokens():
    """Steep maps and no tolerance: each of 24 tokens is exact one pass after the one before it."""
    flow, labels = build(FLOWS["one block"], latent_shape=(2, 4, 6)), labels_for()
    for parameter in flow.parameters():
        parameter.data.mul_(3)
    z = noise_for(flow)
    found = flow.inverse(z, labels, None, Jacobi(tolerance=0.0))
    torch.testing.assert_close(found, flow.inverse(z, labels), atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("window", [None, 2])
@pytest.mark.parametrize(
    "rule",
    [
        GaussianProduct(weight=1.5),
        LogScale(weight=0.8, annealed=True),
        LogScale(weight=0.8, temperature=0.5),
    ],
)
@pytest.mark.parametrize("name", VARIED)
def test_guided_it_is_the_guided_walk(name, rule, window):
    flow, labels = build(FLOWS[name]), labels_for()
    z = noise_for(flow)
    found = flow.inverse(z, labels, rule, Jacobi(window=window, tolerance=0.0))
    torch.testing.assert_close(found, flow.inverse(z, labels, rule), atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("tolerance", [1e-2, 1e-4])
@pytest.mark.parametrize("name", VARIED)
def test_the_error_is_of_the_order_of_the_tolerance(name, tolerance, window):
    flow, labels = build(FLOWS[name]), labels_for()
    z = noise_for(flow)
    found = flow.inverse(z, labels, None, Jacobi(window=window, tolerance=tolerance))
    error = (found - flow.inverse(z, labels)).abs().max()
    assert error < 10 * tolerance


@pytest.mark.parametrize("rule", [None, LogScale(weight=1.0, annealed=True)])
@pytest.mark.parametrize("window", [None, 9])
@pytest.mark.parametrize("name", VARIED)
def test_an_image_stops_by_itself(name, window, rule):
    """Mates that need other numbers of passes change neither its tokens nor its passes."""
    shape = (2, 5, 5) if FLOWS[name].patch == 1 else (1, 10, 10)
    flow, labels = build(FLOWS[name], latent_shape=shape), labels_for(5)
    z = noise_for(flow, 5) * torch.tensor([0.01, 1.0, 3.0, 0.3, 1.0])[:, None, None]
    config, block = Jacobi(window=window, tolerance=1e-2), flow.chain()[-1]
    with torch.no_grad():
        together = solve(block, z, labels, rule, config)
        for i in range(5):
            one = slice(i, i + 1)
            alone = solve(block, z[one], labels[one], rule, config)
            torch.testing.assert_close(alone.tokens, together.tokens[one], atol=1e-10, rtol=1e-10)
            assert alone.passes.item() == together.passes[i].item()
    assert len(set(together.passes.tolist())) > 1, "all images took as long: the test shows nothing"


def test_fewer_passes_than_tokens_are_enough_for_a_tolerance():
    flow, labels = build(FLOWS["tarflow"], latent_shape=(1, 16, 16)), labels_for()
    block, z = flow.chain()[0], noise_for(flow)
    with torch.no_grad():
        rough, fine = (solve(block, z, labels, None, Jacobi(tolerance=t)).passes for t in (1e-2, 1e-8))
        capped = solve(block, z, labels, None, Jacobi(tolerance=0.0, max_passes=2)).passes
    assert (rough < fine).all()
    assert fine.max() < 63
    assert capped.tolist() == [2] * 4


def test_the_deep_block_can_be_left_to_the_walk():
    flow, labels = build(FLOWS["tarflow"]), labels_for()
    z, rough = noise_for(flow), Jacobi(tolerance=1.0, max_passes=1, blocks="shallow")
    assert ways(rough, 3) == (rough, rough, SEQUENTIAL)
    first, second = flow.trajectory(z, labels)[1], flow.trajectory(z, labels, None, rough)[1]
    assert torch.equal(first, second)
    everywhere = replace(rough, blocks="all")
    assert not torch.equal(flow.trajectory(z, labels, None, everywhere)[1], first)


def test_under_autocast_it_is_near_the_walk():
    flow, labels = build(FLOWS["starflow"], dtype=torch.float32), labels_for()
    z = noise_for(flow, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        found = flow.inverse(z, labels, None, Jacobi(window=2, tolerance=1e-3))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, flow.inverse(z, labels), atol=0.1, rtol=0.05)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"window": 0}, "window of Jacobi decoding must be at least 1, not 0"),
        ({"max_passes": 0}, "max_passes of Jacobi decoding must be at least 1, not 0"),
        ({"tolerance": -1.0}, "must not be negative"),
        ({"tolerance": float("nan")}, "must not be negative"),
    ],
)
def test_mistakes(wrong, message):
    with pytest.raises(ValueError, match=message):
        Jacobi(**wrong)


def test_passes_count_tokens_of_reordered_blocks():
    """The solver works in the block's order and its result is the inverse there."""
    flow, labels = build(FLOWS["reversed first"]), labels_for()
    z = noise_for(flow)
    for block in flow.chain():
        with torch.no_grad():
            tokens = solve(block, reorder(z, block.order), labels, None, Jacobi(tolerance=0.0)).tokens
            back, _, _ = block.forward(reorder(tokens, block.order), block.condition(labels))
        torch.testing.assert_close(back, z, atol=1e-10, rtol=1e-10)
