"""``simflow evaluate`` with the flags on speed and memory: they reach the sampler, and the record says so."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from simflow.cli import main
from simflow.flow.jacobi import Jacobi
from simflow.sample import SampleConfig
from simflow.settings import to_dict
from tests.cli.test_evaluate import archive
from tests.cli.test_mistakes import complaint

JACOBI = ["--decoding", "jacobi", "--jacobi-window", "2", "--jacobi-tolerance", "1e-4"]


@pytest.fixture
def run(tmp_path, tiny_run) -> Path:
    """A copy of the tiny run, in which plans may be left."""
    return shutil.copytree(tiny_run, tmp_path / "run")


def words(run, out, *flags) -> list[str]:
    common = ["--extractor", "none", "--nearest", "0", "--num", "6", "--device", "cpu"]
    return ["evaluate", str(run), "--out", str(out), *common, *flags]


def sampled(run, out, *flags) -> tuple[dict, np.ndarray]:
    """How the record says that samples were made, and the samples."""
    assert main(words(run, out, *flags)) == 0
    record = json.loads((out / "results.json").read_text())["samples"]
    with np.load(out / "samples" / "results" / "0000000-0000005.npz") as piece:
        return record["sampling"], piece["arr_0"].astype(int)


def test_ways_of_decoding_reach_the_samples_and_the_record(run, tmp_path):
    exactly, exact = sampled(run, tmp_path / "exact")
    assert exactly["decoding"] == {"type": "Sequential", "compiled": True, "graphs": False}
    assert exactly["dtype"] == "float32"
    near, passed = sampled(run, tmp_path / "jacobi", *JACOBI)
    assert near["decoding"] == to_dict(SampleConfig(decoding=Jacobi(window=2, tolerance=1e-4)))["decoding"]
    assert np.abs(passed - exact).max() <= 1
    rough, half = sampled(run, tmp_path / "half", "--dtype", "bfloat16")
    assert rough["dtype"] == "bfloat16"
    assert 0 < np.abs(half - exact).max() < 25
    one, planned = sampled(run, tmp_path / "plan", "--decoding", "plan", "--batch", "3")
    assert len(one["decoding"]["blocks"]) == 2
    assert np.abs(planned - exact).max() <= 3
    again, _ = sampled(run, tmp_path / "plan", "--decoding", "plan", "--batch", "3")
    assert again == one, "the plan that is stored was not found"


def test_memory_bounds_the_batches(run, tmp_path, monkeypatch):
    from simflow.evaluate import shards, unseen

    batches = []

    def counted(model, *, seeds, labels, config):
        batches.append(config.batch)
        return sample(model, seeds=seeds, labels=labels, config=config)

    def coded(*arguments, batch, **more):
        batches.append(batch)
        return reconstruct(*arguments, batch=batch, **more)

    sample, reconstruct = shards.sample, unseen.fidelity.reconstruct
    monkeypatch.setattr("simflow.evaluate.shards.sample", counted)
    monkeypatch.setattr("simflow.evaluate.unseen.fidelity.reconstruct", coded)
    monkeypatch.setattr("simflow.cli.speed.batch_within", lambda *arguments: 2)
    monkeypatch.setattr("simflow.evaluate.unseen.LEAST", 8)
    flags = ["--memory", "3MiB", "--reconstruction", "--lpips", "none"]
    sampled(run, tmp_path / "small", *flags)
    assert batches == [2, 2]


def test_kept_samples_of_another_way_are_refused(run, tmp_path, capsys):
    sampled(run, tmp_path)
    sentence = complaint(capsys, 2, words(run, tmp_path, *JACOBI))
    assert "sampling.decoding.type is Sequential there and Jacobi here" in sentence


def test_flags_that_need_a_run(tmp_path, capsys):
    given = ["evaluate", "--samples", archive(tmp_path / "a.npz", 40), "--out", str(tmp_path)]
    given += ["--reference", given[2]]
    for flags in (["--decoding", "jacobi"], ["--guidance", "2"]):
        assert "how to sample needs a run" in complaint(capsys, 2, [*given, *flags])


def test_flags_that_contradict_each_other(run, tmp_path, capsys):
    assert "add --decoding plan" in complaint(capsys, 2, words(run, tmp_path, "--tolerance", "0.1"))
