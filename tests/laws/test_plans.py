"""A plan is a way for each block: whatever the ways, the latents are those of the dullest loop."""

from itertools import product

import pytest
import torch

from simflow.flow.affine import Affine
from simflow.flow.decode import SEQUENTIAL, Plan, Sequential, ways
from simflow.flow.guidance import GaussianProduct, LogScale
from simflow.flow.jacobi import Jacobi
from simflow.settings import from_dict, to_dict
from tests.laws.cases import FLOWS, build, dull_inverse, labels_for, noise_for

EXACT = (Sequential(), Jacobi(tolerance=0.0), Jacobi(tolerance=0.0, window=2))
VARIED = ["adaln-unchanged-exp", "tarflow", "starflow", "prefix", "reversed first"]


def plans(blocks: int) -> list[Plan]:
    """Every way for every block where there are two of them; else every way for one block, in turn."""
    if blocks == 2:
        return [Plan(blocks=each) for each in product(EXACT, EXACT)]
    turned = [EXACT[i:] + EXACT[:i] for i in range(len(EXACT))]
    return [Plan(blocks=(each * blocks)[:blocks]) for each in turned]


@pytest.mark.parametrize("name", VARIED)
def test_every_plan_without_tolerance_is_the_dullest_loop(name):
    flow, labels = build(FLOWS[name]), labels_for()
    z = noise_for(flow)
    expected = dull_inverse(flow, z, labels)
    for plan in plans(len(flow.chain())):
        torch.testing.assert_close(flow.inverse(z, labels, None, plan), expected, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("rule", [GaussianProduct(weight=1.5), LogScale(weight=0.8, annealed=True)])
@pytest.mark.parametrize("name", VARIED)
def test_every_plan_without_tolerance_is_the_guided_walk(name, rule):
    flow, labels = build(FLOWS[name]), labels_for()
    z = noise_for(flow)
    expected = flow.inverse(z, labels, rule)
    for plan in plans(len(flow.chain())):
        torch.testing.assert_close(flow.inverse(z, labels, rule, plan), expected, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("name", VARIED)
def test_the_error_of_a_plan_is_of_the_order_of_its_tolerances(name):
    flow, labels = build(FLOWS[name]), labels_for()
    z, count = noise_for(flow), len(flow.chain())
    rough = Plan(blocks=(SEQUENTIAL, Jacobi(tolerance=1e-3), Jacobi(tolerance=1e-3, window=3))[-count:])
    error = (flow.inverse(z, labels, None, rough) - flow.inverse(z, labels)).abs().max()
    assert 0 < error < 2e-2


def test_each_block_is_undone_in_its_own_way():
    """One pass of each block shows which was undone so."""
    flow, labels = build(FLOWS["tarflow"]), labels_for()
    z, rough = noise_for(flow), Jacobi(tolerance=0.0, max_passes=1)
    exact = flow.trajectory(z, labels)
    for place in range(3):
        plan = Plan(blocks=tuple(rough if i == place else SEQUENTIAL for i in range(3)))
        states = flow.trajectory(z, labels, None, plan)
        equal = [torch.equal(one, other) for one, other in zip(states, exact, strict=True)]
        assert equal == [True] * (3 - place) + [False] * (place + 1)


@pytest.mark.parametrize("name", ["tarflow", "starflow"])
def test_batch_mates_do_not_matter_to_a_plan(name):
    flow, labels = build(FLOWS[name]), labels_for(5)
    z = noise_for(flow, 5) * torch.tensor([0.01, 1.0, 3.0, 0.3, 1.0])[:, None, None]
    plan = Plan(blocks=(Jacobi(tolerance=1e-2), SEQUENTIAL, Jacobi(tolerance=1e-2, window=2)))
    together = flow.inverse(z, labels, None, plan)
    for i in range(5):
        one = slice(i, i + 1)
        alone = flow.inverse(z[one], labels[one], None, plan)
        torch.testing.assert_close(alone, together[one], atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("way", [SEQUENTIAL, Jacobi(tolerance=1e-3), Jacobi(tolerance=1e-3, window=2)])
@pytest.mark.parametrize("name", ["adaln-unchanged-exp", "tarflow", "starflow"])
def test_under_autocast_affine_maps_and_tokens_stay_wide(name, way, monkeypatch):
    flow, labels = build(FLOWS[name], dtype=torch.float32), labels_for()
    z, seen, undone = noise_for(flow, dtype=torch.float32), set(), Affine.inverse

    def watched(affine: Affine, noise: torch.Tensor) -> torch.Tensor:
        tokens = undone(affine, noise)
        seen.update({affine.shift.dtype, affine.log_scale.dtype, noise.dtype, tokens.dtype})
        return tokens

    monkeypatch.setattr(Affine, "inverse", watched)
    exact = flow.inverse(z, labels)
    with torch.autocast("cpu", torch.bfloat16):
        rough = flow.inverse(z, labels, None, way)
    assert seen == {torch.float32}
    assert not torch.equal(rough, exact), "autocast did nothing"
    torch.testing.assert_close(rough, exact, atol=0.1, rtol=0.05)
    assert all(parameter.dtype == torch.float32 for parameter in flow.parameters())


def test_a_plan_is_for_its_number_of_blocks():
    flow = build(FLOWS["tarflow"])
    with pytest.raises(ValueError, match="this plan is for 2 blocks, and the flow has 3"):
        flow.inverse(noise_for(flow), labels_for(), None, Plan(blocks=EXACT[:2]))
    assert ways(Plan(blocks=EXACT), 3) == EXACT
    assert ways(EXACT[1], 2) == (EXACT[1], EXACT[1])


def test_a_plan_is_written_down_and_read_back():
    plan = Plan(blocks=EXACT)
    record = to_dict(plan)
    assert [block["type"] for block in record["blocks"]] == ["Sequential", "Jacobi", "Jacobi"]
    assert from_dict(Plan, record) == plan
