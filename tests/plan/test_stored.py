"""A stored plan is read back as it was, and used only where it holds."""

import json
import logging
import re
from dataclasses import replace

import pytest
import torch

from simflow.flow.decode import SEQUENTIAL, Plan
from simflow.flow.guidance import GaussianProduct
from simflow.flow.jacobi import Jacobi
from simflow.plan.clock import Stopwatch
from simflow.plan.record import MeasuredPlan, Trial
from simflow.plan.search import PlanConfig
from simflow.plan.stored import file_of, held, objection, read, recall, write
from simflow.sample import SampleConfig
from simflow.tensors import sha256_of_tensors
from tests.test_sample import model_of

HOW = SampleConfig(guidance=GaussianProduct(weight=1.0), batch=2)
CPU = torch.device("cpu")

PLAN = MeasuredPlan(
    sampling=replace(HOW, decoding=Plan(blocks=(Jacobi(window=8, tolerance=1e-2), SEQUENTIAL))),
    tolerance=0.02,
    error=0.0123,
    num=16,
    dtype_error=None,
    seconds=0.5,
    exact_seconds=2.0,
    trials=(
        (
            Trial(way=SEQUENTIAL, seconds=1.0, passes=15),
            Trial(way=Jacobi(tolerance=1e-2), seconds=2.0, passes=4),
        ),
        (Trial(way=SEQUENTIAL, seconds=1.0, passes=15),),
    ),
    weights="abc",
    device="cpu",
    machine="an abacus",
    torch="2.13",
)


@pytest.fixture
def measured(monkeypatch) -> list[MeasuredPlan]:
    """Plans in the order in which they were measured, without measuring anything."""
    found = []

    def measure(model, config, how, *, clock) -> MeasuredPlan:
        weights = sha256_of_tensors(model.state_dict())
        sampling = replace(config, decoding=PLAN.plan)
        found.append(replace(PLAN, sampling=sampling, weights=weights, tolerance=how.tolerance))
        return found[-1]

    monkeypatch.setattr("simflow.plan.stored.measure", measure)
    return found


def test_a_plan_survives_its_file(tmp_path):
    file = file_of(tmp_path, CPU, 2)
    write(file, PLAN)
    assert file.name == "plan-cpu-2.json"
    assert read(file) == PLAN
    record = json.loads(file.read_text())
    assert record["format"] == 3
    assert record["speed_up"] == 4
    assert record["measured"]["sampling"]["decoding"]["blocks"][0]["window"] == 8


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, None),
        ({"config": replace(HOW, batch=9, decoding=Jacobi())}, None),
        ({"tolerance": 0.5}, None),
        ({"tolerance": 0.01}, "it allows images to differ by 0.02, and 0.01 is asked for"),
        ({"weights": "abd"}, "it was measured with other weights"),
        ({"config": replace(HOW, dtype="bfloat16")}, r"for another way of sampling \(dtype\)"),
        (
            {"config": replace(HOW, guidance=GaussianProduct(weight=2.0), temperature=0.9)},
            r"\(guidance.weight, temperature\)",
        ),
        ({"config": replace(HOW, guidance=None)}, r"\(guidance"),
    ],
    ids=str,
)
def test_when_a_plan_holds(changes, why):
    found = objection(PLAN, **{"weights": "abc", "config": HOW, "tolerance": 0.02} | changes)
    if why is None:
        assert found is None
    else:
        assert found is not None
        assert re.search(why, found)


def test_a_plan_that_cannot_be_written_is_not_measured(tmp_path, measured):
    model, folder = model_of(), tmp_path / "no folder"
    folder.touch()
    with pytest.raises(OSError, match="no folder"):
        recall(model, folder, HOW)
    assert measured == []


def test_a_plan_is_measured_once_and_then_found(tmp_path, caplog, measured):
    model = model_of()
    with caplog.at_level(logging.INFO, "simflow"):
        first = recall(model, tmp_path, HOW)
    assert "there is no plan yet" in caplog.text
    assert recall(model, tmp_path, HOW) == first
    assert recall(model, tmp_path, replace(HOW, decoding=Jacobi())) == first
    assert recall(model, tmp_path, HOW, PlanConfig(tolerance=0.5)) == first
    assert measured == [first], "it was measured again"
    assert [path.name for path in tmp_path.iterdir()] == ["plan-cpu-2.json"]
    assert recall(model, tmp_path, replace(HOW, batch=3)) == measured[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plan-cpu-2.json", "plan-cpu-3.json"]


def test_a_plan_that_does_not_hold_is_measured_again_and_why_is_said(tmp_path, caplog, measured):
    model, file = model_of(), file_of(tmp_path, CPU, 2)
    first = recall(model, tmp_path, HOW)
    with torch.no_grad():
        model.prior.blocks[0].head.bias += 0.01
    with pytest.raises(ValueError, match="does not hold: it was measured with other weights"):
        held(file, model, HOW, 0.02)
    second = recall(model, tmp_path, HOW)
    assert "other weights; it is measured again" in caplog.text
    assert second.weights != first.weights
    assert read(file) == second
    assert recall(model, tmp_path, HOW, PlanConfig(tolerance=0.001)).tolerance == 0.001
    file.write_text(file.read_text()[:50])
    caplog.clear()
    recall(model, tmp_path, HOW)
    assert "is damaged or cut short; it is measured again" in caplog.text
    assert len(measured) == 4


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "is damaged or cut short"),
        ("[1]", "is no plan that this version can read"),
        ('{"format": 2, "measured": {}}', "is no plan that this version can read"),
        ('{"format": 3, "measured": {"tolerence": 1}}', "unknown setting 'tolerence'"),
    ],
)
def test_a_file_that_is_no_plan_is_a_sentence(tmp_path, text, sentence):
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(ValueError, match=sentence):
        read(tmp_path / "plan.json")


def test_a_stopwatch_gives_the_shortest_time_and_repeats_short_acts(monkeypatch):
    now, runs, lasts = [0.0], [], []

    def act() -> None:
        runs.append(1)
        now[0] += lasts.pop(0)

    monkeypatch.setattr("simflow.plan.clock.time.perf_counter", lambda: now[0])
    for durations, shortest, times in (([0.1, 3.0, 0.5, 0.7], 0.5, 4), ([20.0], 20.0, 1)):
        runs.clear()
        lasts[:] = durations
        assert Stopwatch(CPU)(SEQUENTIAL, act) == pytest.approx(shortest)
        assert len(runs) == times
