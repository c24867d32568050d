"""``simflow analyze`` with the flags on speed and memory: they reach every sample, and the record says so."""

import json
from dataclasses import replace

import pytest

from simflow.analysis import samples
from simflow.analysis.record import FILE, load
from simflow.analysis.record import Plan as Amount
from simflow.cli import main
from simflow.cli.analyze import way_of
from simflow.cli.speed import Speed
from simflow.data.images import load as load_images
from simflow.flow.decode import SEQUENTIAL, Plan
from simflow.flow.jacobi import Jacobi
from simflow.pipeline import Pipeline
from simflow.settings import to_dict

QUICK = [
    *["--num", "8", "--samples", "6", "--steps", "3", "--device", "cpu"],
    *["--levels", "0.0", "--guidance", "0.0", "1.0", "--extractor", "none"],
]


@pytest.fixture(autouse=True)
def unplotted(monkeypatch) -> None:
    """As if matplotlib were not installed; it is slow."""
    monkeypatch.setattr("simflow.cli.analyze.can_plot", lambda: False)


def test_the_flags_reach_samples_sweeps_and_record(tiny_run, tmp_path, monkeypatch):
    used = []

    def noted(make):
        def making(model, *, config, **more):
            used.append((config.decoding, config.dtype, config.batch))
            return make(model, config=config, **more)

        return making

    monkeypatch.setattr("simflow.analysis.samples.sample_all", noted(samples.sample_all))
    monkeypatch.setattr("simflow.analysis.samples.sample_each", noted(samples.sample_each))
    monkeypatch.setattr("simflow.cli.speed.batch_within", lambda *arguments: 5)
    flags = ["--decoding", "jacobi", "--jacobi-window", "2", "--dtype", "bfloat16", "--memory", "1GiB"]
    assert main(["analyze", str(tiny_run), *QUICK, *flags, "--gamma", "0.2", "--out", str(tmp_path)]) == 0
    assert used == [(Jacobi(window=2), "bfloat16", 5)] * 3  # by class, and a weight each
    sampling = load(tmp_path)[0].sampling
    assert (sampling.decoding, sampling.dtype, sampling.batch) == used[0]


def test_an_older_record_does_not_say_how_samples_were_drawn(tiny_run, tmp_path):
    assert main(["analyze", str(tiny_run), *QUICK, "--out", str(tmp_path)]) == 0
    file = tmp_path / FILE
    record = json.loads(file.read_text())
    assert record["sampling"]["decoding"] == {"type": "Sequential", "compiled": True, "graphs": False}
    del record["sampling"]
    file.write_text(json.dumps(record | {"format": 2}))
    assert load(tmp_path)[0].sampling is None


def test_batches_fit_the_strongest_guidance_and_the_score_step(tiny_run, monkeypatch):
    pipe, asked = Pipeline.from_pretrained(tiny_run), []
    monkeypatch.setattr(
        "simflow.cli.speed.batch_within", lambda model, config, *rest: asked.append(config) or 3
    )
    amount = Amount(weights=(0.0, 4.0, 1.0), gammas=(0.0, 0.3))
    way = way_of(pipe, Speed(memory="1GiB"), amount, str(tiny_run))
    (config,) = asked
    assert config.guidance.weight == 4.0
    assert config.refinement is not None
    assert to_dict(way) == to_dict(pipe.config.sample) | {"batch": 3}


def test_a_sweep_of_a_run_with_a_plan_is_exact(tiny_run, monkeypatch):
    """A plan keeps its bound at the guidance that it was measured with."""
    pipe, used = Pipeline.from_pretrained(tiny_run), []
    images = load_images(replace(pipe.config.data, flip=False))
    judge = samples.judge(images, images)
    own = replace(pipe.config.sample, decoding=Plan(blocks=(Jacobi(), SEQUENTIAL)))
    pipe = Pipeline(pipe.model, replace(pipe.config, sample=own))

    def noted(model, *, config, **more):
        used.append(config.decoding)
        raise KeyboardInterrupt

    monkeypatch.setattr("simflow.analysis.samples.sample_each", noted)
    with pytest.raises(KeyboardInterrupt):
        samples.sweeps(pipe, judge, weights=(1.0,), samples=6, gammas=None)
    assert used == [SEQUENTIAL]


def test_a_plan_is_not_for_a_sweep(tiny_run, tmp_path, capsys):
    assert main(["analyze", str(tiny_run), "--decoding", "plan", "--out", str(tmp_path)]) == 2
    assert "a plan is for one strength of guidance" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
