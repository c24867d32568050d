"""The benchmarks run, compare before they time, and refuse a sampler that gives other images."""

import json
import os

import pytest
import torch

from benchmarks import peers, sampling
from benchmarks.__main__ import main
from benchmarks.measure import Timing, interleaved

SIZE = ["--size", "2", "8", "2", "1", "64"]
PEER = os.environ.get("SIMFLOW_PEER_TARFLOW")


@pytest.mark.parametrize("what", ["sampling", "training"])
def test_a_table_and_a_file(what, tmp_path, capsys):
    beside = ["--peer-tarflow", PEER] if PEER else []
    main([what, *SIZE, "--rounds", "2", "--out", str(tmp_path / "out.json"), *beside])
    records = json.loads((tmp_path / "out.json").read_text())["records"]
    ways = [record["way"] for record in records]
    assert ways[0] == {"sampling": "forward pass", "training": "SimFlow"}[what]
    assert ("ml-tarflow" in ways) == bool(PEER)
    assert all(record["seconds"] > 0 and len(record["rounds"]) == 2 for record in records)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(records)
    assert {line.count("|") for line in lines} == {lines[0].count("|")}


def test_other_images_are_refused():
    wanted = torch.ones(2, dtype=torch.float64)
    assert sampling.compare({"same": (lambda: torch.ones(2), 1e-4)}, wanted) == {"same": 0.0}
    with pytest.raises(RuntimeError, match=r"'other' gives other images: its error is 1\.0e-01"):
        sampling.compare({"other": (lambda: torch.tensor([1.0, 1.1]), 1e-4)}, wanted)
    with pytest.raises(RuntimeError, match="gives other images"):
        sampling.compare({"nothing": (lambda: torch.full((2,), torch.nan), 1e-4)}, wanted)


def test_contestants_take_turns():
    order = []
    times = interleaved(
        {"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=2, device=torch.device("cpu")
    )
    assert order == ["a", "b"] * 3
    assert [len(timing.rounds) for timing in times.values()] == [2, 2]


def test_a_ratio_is_of_the_same_round():
    assert Timing([2.0, 8.0, 30.0]).ratio(Timing([1.0, 4.0, 10.0])) == 2.0


def test_a_path_that_is_no_checkout(tmp_path):
    with pytest.raises(ValueError, match=r"is no checkout of apple/ml-tarflow"):
        peers.tarflow(tmp_path)
