"""The plan is the fastest of what was tried, by a clock that knows its times beforehand; its images are near exact."""

import math
from dataclasses import replace

import pytest
import torch

from simflow.flow.base import FittedNormal
from simflow.flow.decode import SEQUENTIAL, Plan
from simflow.flow.guidance import GaussianProduct
from simflow.flow.jacobi import Jacobi
from simflow.model import Model
from simflow.nn.tokens import to_latents
from simflow.plan.record import Trial
from simflow.plan.search import LADDER, MARGIN, PlanConfig, largest, measure, probe, seeds
from simflow.plan.trials import candidates, fastest, passes_of, try_blocks
from simflow.sample import SampleConfig, generated
from simflow.sit.prior import SiTConfig
from simflow.sit.solver import Euler
from tests.laws.cases import build, flow, labels_for, noise_for
from tests.test_sample import model_of

HOW = SampleConfig(guidance=GaussianProduct(weight=1.0), batch=4)
TRY = PlanConfig(num=3, windows=(64, 4))
BLOCKS = 3


class Script:
    """A clock that knows its times: by block, data -> noise, and way, and of the whole by its plan.

    Blocks are tried from the noise on, each beginning with the walk.
    """

    def __init__(self, seconds, whole=lambda plan: 2.0 if SEQUENTIAL in plan.blocks else 1.0) -> None:
        self.seconds, self.whole, self.block, self.asked = seconds, whole, 0, []

    def __call__(self, way, act) -> float:
        self.asked.append(way)
        if isinstance(way, Plan):
            return self.whole(way)
        if way == SEQUENTIAL:
            self.block = (self.block - 1) % BLOCKS
        return self.seconds(self.block, way)


def favouring(*windows):
    """A script in which each block is fastest with its window, None for all tokens, or "walk"."""

    def seconds(block, way):
        return 1.0 if getattr(way, "window", "walk") == windows[block] else 2.0

    return Script(seconds, lambda plan: sum(2.0 if each == SEQUENTIAL else 1.0 for each in plan.blocks))


def windows_of(plan) -> list:
    return [getattr(way, "window", "walk") for way in plan.blocks]


@pytest.fixture(scope="module")
def model() -> Model:
    return model_of(flow(depths=(1, 1, 1)))


@pytest.mark.parametrize("windows", [(None, 4, "walk"), ("walk", None, 4)], ids=str)
def test_the_fastest_way_of_each_block_is_taken(model, windows):
    clock = favouring(*windows)
    found = measure(model, HOW, TRY, clock=clock)
    plan = found.sampling.decoding
    assert windows_of(plan) == list(windows)
    assert replace(found.sampling, decoding=SEQUENTIAL) == HOW
    assert (found.exact_seconds, found.seconds, found.speed_up) == (6.0, 4.0, 1.5)
    assert [[trial.seconds for trial in each].index(1.0) for each in found.trials] == [
        ["walk", None, 4].index(window) for window in windows
    ]
    assert clock.asked[-2:] == [Plan(blocks=(SEQUENTIAL,) * BLOCKS), plan]


def test_trials_say_how_many_passes_it_took(model):
    found = measure(model, HOW, TRY, clock=favouring(None, None, None))
    for walk, whole, four in found.trials:
        assert (walk.way, walk.passes) == (SEQUENTIAL, 8)
        assert 1 < whole.passes <= 8
        assert 2 < four.passes <= 8


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_error_is_that_of_fresh_images(model, dtype):
    found = measure(model, replace(HOW, dtype=dtype), TRY, clock=favouring(None, None, "walk"))
    labels = [0, 1, 2]
    exact = generated(model, seeds("fresh", 3), labels, HOW).clamp(-1, 1)
    planned = replace(HOW, decoding=found.sampling.decoding)
    error = (generated(model, seeds("fresh", 3), labels, planned).clamp(-1, 1) - exact).abs()
    assert 0 < found.error <= TRY.tolerance
    assert found.error == pytest.approx(error.max().item(), rel=1e-4)
    assert found.num == 3
    if dtype == "float32":
        assert found.dtype_error is None
        assert found.dtype_mean_error is None
    else:
        rough = generated(model, seeds("fresh", 3), labels, found.sampling).clamp(-1, 1)
        assert found.dtype_error == pytest.approx((rough - exact).abs().max().item())
        assert found.dtype_mean_error == pytest.approx((rough - exact).abs().mean().item())
        assert found.dtype_error > found.error


@pytest.mark.parametrize("tolerance", [0.02, 1e-3])
def test_the_tolerance_of_passes_is_the_loosest_that_keeps_the_bound(model, tolerance):
    how = replace(TRY, tolerance=tolerance)
    found = measure(model, HOW, how, clock=favouring(None, None, None))
    (used,) = {way.tolerance for way in found.sampling.decoding.blocks}
    exact = probe(model, HOW, "tuning", 3)

    def error(passes: float) -> float:
        return largest(probe(model, replace(HOW, decoding=Jacobi(tolerance=passes)), "tuning", 3) - exact)

    assert error(used) <= MARGIN * tolerance
    assert used == LADDER[0] or error(LADDER[LADDER.index(used) - 1]) > MARGIN * tolerance
    assert found.error <= found.tolerance == tolerance


@pytest.mark.parametrize(("part", "taken"), [(1.01 * MARGIN, False), (0.99 * MARGIN, True)])
def test_the_choice_uses_up_a_part_of_the_bound(model, part, taken):
    """The loosest tolerance of passes is taken if its error is no more than that part."""
    loosest = replace(HOW, decoding=Jacobi(tolerance=LADDER[0]))
    error = largest(probe(model, loosest, "tuning", 3) - probe(model, HOW, "tuning", 3))
    found = measure(model, HOW, replace(TRY, tolerance=error / part), clock=favouring(None, None, None))
    assert ({way.tolerance for way in found.plan.blocks} == {LADDER[0]}) == taken


def test_blocks_are_tried_on_what_the_exact_walk_feeds_them():
    """Under guidance, and with a base that is not a standard normal."""
    prior, labels, rule = build(flow(depths=(1, 1, 1), base=FittedNormal())), labels_for(), HOW.guidance
    noise, fed = noise_for(prior), []

    def clock(way, act):
        fed.append(to_latents(act(), prior.patch, prior.latent_shape))
        return 1.0

    try_blocks(prior, noise, labels, replace(rule, blocks="all"), [SEQUENTIAL], clock)
    expected = prior.trajectory(noise, labels, replace(rule, blocks="all"))[1:]
    torch.testing.assert_close(fed, expected)


def test_passes_are_those_of_the_slowest_image():
    block, labels, way = build(flow()).chain()[0], labels_for(), Jacobi(tolerance=1e-3)
    z = noise_for(build(flow())) * torch.tensor([0.0, 0.1, 1.0, 3.0])[:, None, None]
    each = [passes_of(block, z[i : i + 1], labels[i : i + 1], None, way) for i in range(4)]
    assert min(each) < passes_of(block, z, labels, None, way) == max(each)


def test_fresh_images_that_are_too_far_ask_for_a_finer_tolerance(model, monkeypatch):
    """The tuning images are told to be exact whatever is done; only the fresh ones can refuse."""

    def fooled(model, config, purpose, count):
        return probe(model, HOW if purpose == "tuning" else config, purpose, count)

    monkeypatch.setattr("simflow.plan.search.probe", fooled)
    found = measure(model, HOW, replace(TRY, tolerance=1e-3), clock=favouring(None, None, None))
    assert {way.tolerance for way in found.sampling.decoding.blocks} < set(LADDER[1:])
    assert found.error <= 1e-3


def test_where_no_tolerance_will_do_all_is_exact(model):
    clock = favouring(None, None, None)
    found = measure(model, HOW, replace(TRY, tolerance=1e-12), clock=clock)
    assert set(found.plan.blocks) == {SEQUENTIAL}
    assert (found.error, found.speed_up) == (0, 1)
    assert [isinstance(way, Plan) for way in clock.asked].count(True) == 1, "the same was timed twice"


def test_a_plan_that_is_slower_as_a_whole_is_not_kept(model):
    clock = Script(
        lambda block, way: 2.0 if way == SEQUENTIAL else 1.0,
        lambda plan: 3.0 if SEQUENTIAL in plan.blocks else 4.0,
    )
    found = measure(model, HOW, TRY, clock=clock)
    assert set(found.sampling.decoding.blocks) == {SEQUENTIAL}
    assert (found.error, found.speed_up) == (0, 1)


def test_ways_that_need_too_much_memory_are_left_out(model):
    def seconds(block, way):
        if isinstance(way, Jacobi) and way.window is None:
            raise torch.OutOfMemoryError("no room")
        return 1.0 if isinstance(way, Jacobi) else 2.0

    found = measure(model, HOW, TRY, clock=Script(seconds, favouring().whole))
    assert windows_of(found.sampling.decoding) == [4, 4, 4]
    assert [len(each) for each in found.trials] == [2, 2, 2]


def test_of_ways_that_take_as_long_the_exact_one_is_taken():
    trials = [Trial(way=way, seconds=1.0, passes=1) for way in candidates(9, 1e-3, (4,))]
    assert fastest([trials, trials[1:]]).blocks == (SEQUENTIAL, Jacobi(tolerance=1e-3))


def test_windows_are_shorter_than_the_tokens():
    assert [getattr(way, "window", "walk") for way in candidates(16, 1e-3, (64, 32, 16, 8))] == [
        "walk",
        None,
        8,
    ]
    assert all(way.tolerance == 1e-3 for way in candidates(100, 1e-3, (64, 8))[1:])


def test_probe_images_are_the_same_at_any_batch_and_others_for_each_purpose(model):
    images = probe(model, HOW, "fresh", 7)
    assert images.shape == (7, 1, 12, 12)
    assert images.abs().max() <= 1
    torch.testing.assert_close(probe(model, replace(HOW, batch=2), "fresh", 7), images, atol=1e-4, rtol=0)
    assert (probe(model, HOW, "tuning", 7) - images).abs().max() > 0.1


def test_no_number_is_infinitely_far():
    assert largest(torch.tensor([0.0, math.nan])) == math.inf
    assert largest(torch.tensor([0.5, -2.0])) == 2


def test_mistakes():
    sit = model_of(SiTConfig(width=8, depth=1, heads=2, solver=Euler(steps=1)))
    with pytest.raises(ValueError, match="a plan is for the blocks of a flow"):
        measure(sit, SampleConfig(guidance=None))
    with pytest.raises(ValueError, match="tolerance of a plan must be positive"):
        PlanConfig(tolerance=0.0)
    with pytest.raises(ValueError, match="at least one probe image"):
        PlanConfig(num=0)
