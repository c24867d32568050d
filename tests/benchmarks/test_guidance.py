"""What guidance costs: arithmetic that no machine changes, and sizes that can be asked for."""

import json

import pytest
import torch

from benchmarks import guidance
from benchmarks.__main__ import main
from benchmarks.measure import Timing, table


def test_guidance_in_forward_passes():
    """Arithmetic does not depend on the machine: Eq. 6 is about four forward passes, and guidance doubles the deep
    block of three."""
    found = guidance.of_size(guidance.parse("demo:2:1"), rounds=2, device=torch.device("cpu"))
    records = {each["way"]: each for each in json.loads(json.dumps(found))}
    assert list(records) == ["forward pass", "sampling", "sampling, guided", "guided and Eq. 6", "Eq. 6"]
    cost = {way: record["arithmetic"] for way, record in records.items()}
    assert cost["sampling"] == pytest.approx(1, abs=0.1)
    assert cost["sampling, guided"] == pytest.approx(4 / 3, abs=0.1)
    assert cost["Eq. 6"] == pytest.approx(4, abs=0.2)
    assert cost["guided and Eq. 6"] == pytest.approx(cost["sampling, guided"] + cost["Eq. 6"], rel=1e-6)
    assert records["Eq. 6"]["added"] > 0
    assert records["sampling"]["added"] is None
    assert (records["Eq. 6"]["tokens"], records["Eq. 6"]["chunk"]) == (16, 1)
    assert all(len(record["rounds"]) == 2 and record["seconds"] > 0 for record in found)
    assert records["Eq. 6"]["error"] < guidance.ALLOWED["float32"]
    lines = table([guidance.row(each) for each in found]).splitlines()
    assert {line.count("|") for line in lines} == {lines[0].count("|")}


def test_half_precision_rounds_eq_6_within_what_is_allowed():
    found = guidance.of_size(guidance.parse("demo:2"), rounds=1, device=torch.device("cpu"), dtype="bfloat16")
    (record,) = (each for each in found if each["way"] == guidance.STEP)
    assert record["dtype"] == "bfloat16"
    assert guidance.ALLOWED["float32"] < record["error"] < guidance.ALLOWED["bfloat16"]


def test_what_is_added_is_what_comes_on_top():
    guided, both = Timing([2.0, 4.0]), Timing([3.0, 6.0])
    assert guidance.added(guidance.BOTH, both, guided) == pytest.approx(0.5)
    assert guidance.added(guidance.STEP, Timing([1.0, 2.0]), guided) == pytest.approx(0.5)


@pytest.mark.parametrize("text", ["demo", "demo:0", "demo:2:x", "demo:2:3:4", ":2:"])
def test_sizes_that_are_none(text, capsys):
    with pytest.raises(ValueError, match="RECIPE:IMAGES"):
        guidance.parse(text)
    with pytest.raises(SystemExit):
        main(["guidance", "--sizes", text])
    assert "--sizes" in capsys.readouterr().err


def test_other_latents_are_refused(monkeypatch):
    monkeypatch.setattr(guidance, "ALLOWED", {"float32": 0.0})
    with pytest.raises(RuntimeError, match=r"'Eq. 6' gives other images: its error is \d\.\de-0\d"):
        guidance.of_size(guidance.parse("demo:1"), rounds=1, device=torch.device("cpu"))


def test_a_recipe_without_a_density_has_no_eq_6():
    with pytest.raises(ValueError, match="is no flow"):
        guidance.build("table7-joint-64")
