"""Samplers are compared before they are timed: one that gives other images is refused."""

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from benchmarks import equal_error, peers, sampling
from benchmarks.__main__ import parser
from benchmarks.ceilings import Ceilings, Work
from benchmarks.contest import FORWARD, Batch, Way, compare, contest, fits, in_float64
from benchmarks.measure import Deadline
from benchmarks.plots import Bar, Bars
from benchmarks.sizes import Size, cases, trained
from benchmarks.subject import Setting
from simflow import recipes
from simflow.flow.stack import Flow
from simflow.pipeline import Pipeline
from simflow.recipes.tarflow import shape
from tests.benchmarks.fake import checkout

CPU = torch.device("cpu")
SIZE = Size(images=2, grid=2, depths=(1, 1), width=64, heads=1)
TARFLOW, GSJACOBI = (
    Path(given) if (given := os.environ.get(f"SIMFLOW_PEER_{name}")) else None
    for name in ("TARFLOW", "GSJACOBI")
)
WORK = Work(1e9, 1e9)


def setting(**changes) -> Setting:
    return Setting(**{"device": CPU, "rounds": 1, "ceilings": Ceilings(1e9, 2e9)} | changes)


@pytest.fixture(scope="module")
def flow():
    return SIZE.build(CPU)


def test_other_images_are_refused():
    wanted = torch.ones(2, dtype=torch.float64)
    assert compare({"same": (lambda: torch.ones(2), 1e-4)}, wanted) == {"same": 0.0}
    with pytest.raises(RuntimeError, match=r"'other' gives other images: its error is 1\.0e-01"):
        compare({"other": (lambda: torch.tensor([1.0, 1.1]), 1e-4)}, wanted)
    with pytest.raises(RuntimeError, match="gives other images"):
        compare({"nothing": (lambda: torch.full((2,), torch.nan), 1e-4)}, wanted)


def test_a_walk_is_drawn_where_the_forward_pass_found_no_memory():
    known = {"flow": "a", "images": 1, "tokens": 4, "way": "sequential", "seconds": 0.1, "target error": None}
    (panel,) = sampling.panels([known | {"forward passes": None}])
    assert panel == Bars("a: 1 × 4 tokens", "ms", [Bar("sequential", 100.0, "")])


def test_some_images_of_a_batch_stand_for_all(flow):
    batch = Batch(flow, 9, name="nine")
    assert batch.rows.tolist() == [0, 2, 5, 8]
    wanted = batch.exact(in_float64(flow))
    x = flow.inverse(batch.z, batch.labels)
    assert compare({"ours": (lambda: x, 1e-5)}, wanted, batch.rows)["ours"] < 1e-5
    x[5] += 0.1
    with pytest.raises(RuntimeError, match="other images"):
        compare({"ours": (lambda: x, 1e-5)}, wanted, batch.rows)


def test_a_fast_sampler_that_is_wrong_is_not_timed(flow):
    batch = Batch(flow, 2, name="two")
    wanted = batch.exact(in_float64(flow))
    ways = {
        FORWARD: Way(lambda: flow(batch.x, batch.labels)[0], WORK),
        "guess": Way(lambda: batch.z.mT.reshape(batch.x.shape), WORK, wanted),
    }
    with pytest.raises(RuntimeError, match="'guess' gives other images"):
        contest(batch, ways, setting())


def test_what_does_not_fit_is_named_and_the_rest_is_timed(flow):
    def too_much() -> torch.Tensor:
        raise torch.OutOfMemoryError

    assert not fits(too_much)
    batch = Batch(flow, 2, name="two")
    ways = {
        FORWARD: Way(lambda: flow(batch.x, batch.labels)[0], WORK),
        "ours": Way(
            lambda: flow.inverse(batch.z, batch.labels), WORK, batch.exact(in_float64(flow)), 1e-4, "large"
        ),
        "large": Way(too_much, WORK),
    }
    first, ours, large = contest(batch, ways, setting())
    assert first["forward passes"] == 1
    assert first["floor seconds"] == 1, "a gigaflop at a gigaflop a second"
    assert ours["seconds"] > 0
    assert ours["times as fast as the peer"] is None
    assert (large["seconds"], large["absent"]) == (None, "out of memory")
    assert sampling.row(large)["ms"] == "out of memory"
    assert {len(sampling.row(record)) for record in (first, ours, large)} == {len(sampling.row(first))}


def test_what_is_compared_and_timed_is_what_a_way_does_ever_after(flow):
    """A walk that is recorded first walks, then records, and is replayed from the third batch on."""
    batch, runs = Batch(flow, 2, name="two"), []
    exact = batch.exact(in_float64(flow))

    def replayed() -> torch.Tensor:
        runs.append(1)
        return flow.inverse(batch.z, batch.labels) if len(runs) <= 2 else torch.zeros_like(batch.x)

    ways = {"graphs": Way(replayed, WORK, exact, prepared_by=sampling.RECORDED)}
    with pytest.raises(RuntimeError, match="'graphs' gives other images"):
        contest(batch, ways, setting())


def test_half_precision_is_compared_too(flow):
    batch = Batch(flow, 2, name="two")
    exact = in_float64(flow)
    ways = sampling.plain(batch, batch.exact(exact), None, setting(dtype="bfloat16"))
    records = {each["way"]: each for each in contest(batch, ways, setting(dtype="bfloat16"))}
    assert 1e-5 < records["sequential"]["error"] < 0.05
    assert records["sequential"]["GB"] == pytest.approx(
        2 * sampling.a_walk(flow, 2, itemsize=1).bytes / 1e9
    ), "two bytes per number"


def test_a_peer_has_our_weights_and_is_refused_if_it_is_wrong(flow, tmp_path):
    """The stand-in has the classes and names of the peers, and gives its noise for images."""
    theirs = peers.tarflow(checkout(tmp_path), flow)
    for first, second in (
        ("blocks.1.proj_out.weight", "blocks.1.head.weight"),
        ("blocks.0.pos_embed", "blocks.0.positions"),
    ):
        torch.testing.assert_close(theirs.state_dict()[first], flow.state_dict()[second])
    assert theirs.blocks[0].class_embed.shape == (10, 1, 64)
    total = sum(parameter.double().sum() for parameter in flow.parameters())
    torch.testing.assert_close(sum(parameter.double().sum() for parameter in theirs.parameters()), total)
    words = ["sampling", "--size", "2", "8", "2", "1", "64", "--unguided", "--peer-tarflow", str(tmp_path)]
    with pytest.raises(RuntimeError, match="'ml-tarflow' gives other images"):
        list(sampling.measure(parser().parse_args(words), setting()))


@pytest.mark.parametrize("peer", [peers.tarflow, peers.gs_jacobi])
def test_a_path_that_is_no_checkout(peer, flow, tmp_path):
    with pytest.raises(
        ValueError, match=r"is no checkout of (apple/ml-tarflow|encoreus/GS-Jacobi_for_TarFlow)"
    ):
        peer(tmp_path, flow)


def test_a_flow_that_the_peers_cannot_express(tmp_path):
    adaln = Size(images=2, grid=2, depths=(1,), width=64, heads=1, conditioning="adaln").build(CPU)
    with pytest.raises(ValueError, match="classes added to every token"):
        peers.tarflow(checkout(tmp_path), adaln)


@pytest.mark.skipif(TARFLOW is None, reason="SIMFLOW_PEER_TARFLOW names no checkout")
@pytest.mark.parametrize("heads", [1, 4])
def test_ml_tarflow_gives_our_images(heads):
    """Also with heads of a size that is not its own."""
    assert TARFLOW is not None
    flow = Size(images=3, grid=3, depths=(2, 1), width=64, heads=heads).build(CPU)
    batch, theirs = Batch(flow, 3, name="three"), peers.tarflow(TARFLOW, flow)
    with torch.no_grad():
        found = theirs.reverse(batch.z.clone(), batch.labels)
    assert compare({"peer": (lambda: found, 1e-5)}, batch.exact(in_float64(flow)))["peer"] < 1e-5


@pytest.mark.skipif(GSJACOBI is None, reason="SIMFLOW_PEER_GSJACOBI names no checkout")
def test_gs_jacobi_comes_as_near_as_it_is_asked_to():
    assert GSJACOBI is not None
    flow = Size(images=3, grid=4, depths=(2, 1), width=64, heads=1).build(CPU)
    batch = Batch(flow, 3, name="three", cut=equal_error.CUT)
    records = equal_error.measure(
        batch, in_float64(flow), peers.gs_jacobi(GSJACOBI, flow), setting(), target=1e-3
    )
    assert [each["way"].split(",")[0] for each in records[1:]] == ["Jacobi"] * 3 + ["token by token"] + [
        "GS-Jacobi"
    ] * 3
    assert all(each["error"] <= 1e-3 and each["seconds"] > 0 for each in records[1:])


def test_the_loosest_bound_that_is_near_enough(flow):
    batch, wanted = Batch(flow, 1, name="one"), torch.ones(1, 2, dtype=torch.float64)
    near = equal_error.loosest(lambda bound: torch.ones(1, 2) + bound, wanted, batch, setting(), 1.5e-2)
    assert (near.bound, near.reached) == (1e-2, True)
    far = equal_error.loosest(lambda bound: torch.ones(1, 2) + 0.5 + bound, wanted, batch, setting(), 1.5e-2)
    assert (far.bound, far.reached) == (1e-6, False)
    assert far.error == pytest.approx(0.5, rel=1e-3)
    lost = equal_error.loosest(lambda bound: torch.full((1, 2), torch.nan), wanted, batch, setting(), 1.5e-2)
    assert (lost.error, lost.reached) == (None, False)
    late = setting(deadline=Deadline(0.0))
    cut = equal_error.loosest(lambda bound: torch.ones(1, 2) + bound, wanted, batch, late, 1.5e-2)
    assert (cut.bound, cut.reached) == (1e-1, None)


def test_equal_error_beside_a_peer_that_stays_apart(flow):
    """The peer's walk errs by its bound in every number, and its passes by a half whatever the bound."""

    def reverse(z, labels, *, num_GS_list, ebound, **rest):
        return flow.inverse(z, labels) + (ebound if num_GS_list[0] == 0 else 0.5)

    batch = Batch(flow, 2, name="two", cut=equal_error.CUT)
    assert batch.z.abs().max() <= 2
    records = equal_error.measure(
        batch, in_float64(flow), SimpleNamespace(reverse=reverse), setting(), target=1e-2
    )
    found = {each["way"].split(", bound")[0]: each for each in records}
    assert found["token by token"]["error"] < 1e-5
    assert found["Jacobi"]["times as fast as the peer"] > 0
    assert found["GS-Jacobi, first block token by token"]["seconds"] > 0
    apart = found["GS-Jacobi"]
    assert (apart["seconds"], apart["absent"], apart["times as fast as the peer"]) == (
        None,
        "not reached",
        None,
    )
    assert sampling.row(apart)["ms"] == "not reached"
    assert all(each["target error"] == 1e-2 for each in records)
    assert len(sampling.panels(records)) == 1


def test_a_trained_run_is_measured_with_its_own_weights(tmp_path):
    base = recipes.get("tarflow-fashion")
    config = replace(
        base, data=replace(base.data, image_size=8), model=replace(base.model, prior=shape(4, 64, 2, 1))
    )
    model = config.model.build(config.expected_facts())
    Pipeline(model, config).save_pretrained(tmp_path / "run")
    words = ["sampling", "--run", str(tmp_path / "run"), "--batch", "1", "3"]
    (case,) = cases(parser().parse_args(words), CPU)
    assert (case.name, case.batches) == ("run", [1, 3])
    flow = case.build()
    assert isinstance(model.prior, Flow)
    assert all(map(torch.equal, flow.parameters(), model.prior.parameters()))
    assert peers.tarflow(checkout(tmp_path), flow).blocks[0].head_dim == 64


def test_a_run_whose_prior_is_no_flow(tmp_path):
    base = recipes.get("table7-joint-64")
    prior = replace(base.model.prior, width=16, heads=2, depth=1)
    config = replace(base, model=replace(base.model, prior=prior))
    Pipeline(config.model.build(config.expected_facts()), config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="is no flow"):
        trained(tmp_path, CPU)


def test_sizes_of_one_geometry_share_a_flow():
    words = ["sampling", "--geometry", "S", "L", "--batch", "16", "1", "--size", "2", "8", "2", "1", "64"]
    found = cases(parser().parse_args(words), CPU)
    assert [(case.name, case.batches) for case in found] == [
        ("1-1 of 64", [2]),
        ("S", [16, 1]),
        ("L", [16, 1]),
    ]
    assert [case.batches for case in cases(parser().parse_args(["sampling"]), CPU)] == [[16], [4]]
