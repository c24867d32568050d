"""A study is trained and judged once, goes on where it was, and is shared; one row's trouble is its own."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from simflow.files import read_json
from simflow.pipeline import Pipeline
from simflow.study import judge, sheet
from simflow.study import worker as module
from simflow.study.layout import StudyFolder, take
from simflow.study.table import introduction
from tests.study.tiny import ALIGNED, FROZEN, JOINT, budget, run, study
from tests.whole.tiny import pictures

STUDY = study(FROZEN, JOINT)


@pytest.fixture(autouse=True)
def _unplotted(monkeypatch):
    """Plots take longer than all else; only the study that all tests share draws one."""
    monkeypatch.setattr("simflow.study.report.can_plot", lambda: False)


@pytest.fixture
def fits(monkeypatch) -> list[str]:
    """Names of the runs that :func:`~simflow.fitting.fit` is called for from now on."""
    called, fit = [], module.fit

    def counted(config, folder, **options):
        called.append(f"{folder.parent.name}/{folder.name}")
        return fit(config, folder, **options)

    monkeypatch.setattr(module, "fit", counted)
    return called


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Path:
    """A finished study of two rows and two seeds; its pictures are beside it."""
    base = tmp_path_factory.mktemp("study")
    outcome = run(STUDY, budget(base), base / "out", seeds=(0, 1))
    assert (outcome.stopped, outcome.failed, outcome.left) == (False, {}, 0)
    return base


def figures(out: Path, name: str, seed: int = 0) -> dict:
    record = read_json(StudyFolder(out).figures(name, seed))
    assert record["failed"] is None
    timed = ("seconds", "images_per_second", "before")
    return {key: value for key, value in record["figures"].items() if key not in timed}


def test_what_is_left_behind(done):
    out = done / "out"
    table = json.loads((out / "table.json").read_text())
    assert [row["name"] for row in table["rows"]] == ["frozen", "joint"]
    own = figures(out, "joint")
    assert {"psnr", "ssim", "fd", "accuracy", "accuracy_guided", "diversity", "bits", "mse"} <= own.keys()
    assert own["steps"] == 2
    assert own["fd"] is None
    psnr = [figures(out, "joint", seed)["psnr"] for seed in (0, 1)]
    assert table["rows"][1]["mean"]["psnr"] == pytest.approx(np.mean(psnr))
    assert table["rows"][1]["standard_deviation"]["psnr"] == pytest.approx(np.std(psnr, ddof=1))
    assert len(table["orderings"]) == sum(table["tally"].values()) == 2
    text = (out / "table.md").read_text()
    assert "*27.54*" in text
    assert "frozen beats joint" in text
    assert (out / "plot.svg").read_text().count("<svg") == 1
    assert (out / "sheet.png").stat().st_size > 1000
    assert len(Pipeline.from_pretrained(out / "runs" / "joint" / "seed-1")(seeds=[1]).images) == 1
    assert not list((out / "samples").rglob("*.npz"))


def test_the_model_itself_is_judged_and_then_the_recipes_own_way(done, tmp_path, monkeypatch):
    asked, sampled = [], judge.sampled

    def noted(pipe, config, *rest):
        asked.append((config, pipe.config.sample))
        return sampled(pipe, config, *rest)

    monkeypatch.setattr(judge, "sampled", noted)
    settings = budget(done).settings | {"sample.temperature": 0.9}
    run(STUDY, budget(done, settings=settings), tmp_path / "out", rows=("joint",))
    (itself, own), (guided, _) = asked
    assert guided == own
    assert own.guidance is not None
    assert itself == replace(own, guidance=None, refinement=None, temperature=1.0) != own


def test_a_row_starts_from_the_autoencoder_of_its_seed(done):
    out = done / "out"
    for seed in (0, 1):
        config = json.loads((out / "runs" / "frozen" / f"seed-{seed}" / "config.json").read_text())["config"]
        assert Path(config["start_from"]["path"]) == (out / "runs" / "vae" / f"seed-{seed}").resolve()
        before = json.loads((out / "runs" / "vae" / f"seed-{seed}" / "config.json").read_text())["config"]
        assert before["train"]["seed"] == config["train"]["seed"] == seed
        assert before["train"]["stages"][0]["steps"] == 2
        assert before["model"]["prior"]["depths"] == []
        record = read_json(StudyFolder(out).figures("frozen", seed))["figures"]
        assert record["before"] > 0
    weights = [
        load_file(next((out / "runs" / name / "seed-1" / "checkpoints").iterdir()) / "ema.safetensors")
        for name in ("vae", "frozen")
    ]
    shared = [name for name in weights[0] if name.startswith("autoencoder.")]
    assert shared
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in shared)
    assert figures(out, "frozen", 0)["psnr"] != figures(out, "frozen", 1)["psnr"]


def test_what_is_done_is_not_done_again(done, fits):
    files = {path: path.stat().st_mtime_ns for path in (done / "out" / "figures").iterdir()}
    assert len(files) == 4
    assert run(STUDY, budget(done), done / "out", seeds=(0, 1)).left == 0
    assert fits == []
    assert {path: path.stat().st_mtime_ns for path in files} == files


def test_other_weights_are_judged_again(done, fits, tmp_path):
    out = tmp_path / "out"
    base = budget(done)
    run(STUDY, base, out, rows=("joint",))
    before = figures(out, "joint")
    assert before == pytest.approx(figures(done / "out", "joint"))
    file = next((out / "runs" / "joint" / "seed-0" / "checkpoints").iterdir()) / "ema.safetensors"
    save_file({name: tensor * 1.1 for name, tensor in load_file(file).items()}, file)
    run(STUDY, base, out, rows=("joint",))
    assert fits == ["joint/seed-0"]
    assert figures(out, "joint")["psnr"] != before["psnr"]


def test_interrupted_and_gone_on_gives_equal_figures(done, tmp_path, fits):
    class Terminate:
        def on_step(self, metrics):
            if metrics.step == 1:
                os.kill(os.getpid(), signal.SIGTERM)

        def on_checkpoint(self, path):
            pass

        def on_end(self):
            pass

    out, base = tmp_path / "out", budget(done)
    stop = {"listeners": lambda folder, objective, config: [Terminate()]}
    assert run(STUDY, base, out, rows=("frozen",), **stop).stopped  # in the autoencoder
    assert run(STUDY, base, out, rows=("frozen",), **stop).stopped  # which went on, and then in the row
    assert not run(STUDY, base, out, rows=("frozen",)).stopped
    assert fits == ["vae/seed-0", "vae/seed-0", "frozen/seed-0", "frozen/seed-0"]
    assert figures(out, "frozen") == pytest.approx(figures(done / "out", "frozen"), nan_ok=True)


def test_a_taken_run_is_left_to_its_process(done, tmp_path, fits):
    out, base = tmp_path / "out", budget(done)
    other = StudyFolder(out).lock("joint-seed-0")
    with other:
        outcome = run(STUDY, base, out)
        assert fits == ["vae/seed-0", "frozen/seed-0"]
        assert outcome.left == 1
    assert run(STUDY, base, out).left == 0
    assert fits == ["vae/seed-0", "frozen/seed-0", "joint/seed-0"]
    assert len(json.loads((out / "table.json").read_text())["rows"][1]["seeds"]) == 1


def test_an_autoencoder_that_another_trains_is_waited_for(done, tmp_path, fits, monkeypatch):
    out, base = tmp_path / "out", budget(done)
    other = StudyFolder(out).lock("vae-seed-0")
    other.acquire()
    waited = []

    def sleep(seconds):
        waited.append(seconds)
        assert fits == ["joint/seed-0"]
        other.release()

    monkeypatch.setattr(module.time, "sleep", sleep)
    run(STUDY, base, out)
    assert len(waited) == 1
    assert fits == ["joint/seed-0", "vae/seed-0", "frozen/seed-0"]


def test_two_processes_do_not_write_the_reference_at_once(tmp_path, monkeypatch, unchecked):
    folder, free = StudyFolder(tmp_path), []
    monkeypatch.setattr(module, "prepare", lambda *given: Mock(record={}))
    monkeypatch.setattr(module.layout, "write", lambda *given: free.append(take(folder.lock("table"))))
    given = dict.fromkeys(("study", "desk", "listeners", "keep_samples", "images"))
    module.Worker(**given, queue=Mock(folder=folder), unseen=(None, "")).bench()
    assert free == [False]


def test_more_seeds_come_into_the_same_table(done, fits, tmp_path):
    out, base = tmp_path / "out", budget(done)
    run(STUDY, base, out, rows=("joint",), seeds=(3,))
    run(STUDY, base, out, rows=("joint",), seeds=(1, 3))
    assert fits == ["joint/seed-3", "joint/seed-1"]
    assert list(json.loads((out / "table.json").read_text())["rows"][1]["seeds"]) == ["1", "3"]


def test_a_row_that_fails_is_recorded_and_tried_again(done, tmp_path, fits):
    made = study(ALIGNED, JOINT)
    settings = {"objective.alignment.encoder.source": str(tmp_path / "no.safetensors")}
    base = budget(done)
    base = budget(done, settings=dict(base.settings) | settings)
    out = tmp_path / "out"
    outcome = run(made, base, out)
    assert list(outcome.failed) == ["aligned-seed-0"]
    assert "no.safetensors" in outcome.failed["aligned-seed-0"]
    assert fits == ["aligned/seed-0", "joint/seed-0"]
    assert "aligned, seed 0: failed: " in (out / "table.md").read_text()
    assert figures(out, "joint")["psnr"] > 0
    run(made, base, out)
    assert fits == ["aligned/seed-0", "joint/seed-0", "aligned/seed-0"]


def test_what_could_have_no_figures_is_refused_before_it_is_trained(tmp_path, fits, monkeypatch):
    out = tmp_path / "out"
    with pytest.raises(ValueError, match="and there are 12 held-out images: say --extractor none"):
        run(STUDY, budget(tmp_path, num=32, held_out=32, extractor="efficientnet-lite0"), out)
    monkeypatch.setattr(module, "LEAST", 6)
    with pytest.raises(ValueError, match=r"missing\.pth"):
        run(STUDY, budget(tmp_path, extractor="inception=missing.pth"), out)
    assert fits == []
    assert not out.exists()


def test_an_error_that_may_be_of_one_process_alone_ends_them_all(done, tmp_path, monkeypatch):
    def broken(config, folder, **options):
        raise RuntimeError("no memory left")

    monkeypatch.setattr(module, "fit", broken)
    monkeypatch.setattr(module, "world", lambda: 2)
    with pytest.raises(RuntimeError, match="no memory left"):
        run(STUDY, budget(done), tmp_path / "out", rows=("joint",))


def test_a_row_whose_autoencoder_fails(done, tmp_path, monkeypatch):
    def broken(config, folder, **options):
        raise RuntimeError("out of memory\nand a long story")

    monkeypatch.setattr(module, "fit", broken)
    outcome = run(STUDY, budget(done), tmp_path / "out", rows=("frozen",))
    assert list(outcome.failed) == ["frozen-seed-0"]
    said = "the autoencoder that it starts from failed: out of memory"
    assert outcome.failed["frozen-seed-0"] == said


def test_a_diverged_training_has_no_figures_but_its_own(done, tmp_path):
    out, base = tmp_path / "out", budget(done)
    run(STUDY, base, out, rows=("joint",))
    metrics = out / "runs" / "joint" / "seed-0" / "metrics.jsonl"
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    lines[-1]["loss/total"] = None
    metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    StudyFolder(out).figures("joint", 0).unlink()
    outcome = run(STUDY, base, out, rows=("joint",))
    assert "the training diverged" in outcome.failed["joint-seed-0"]
    record = read_json(StudyFolder(out).figures("joint", 0))
    assert record["figures"]["collapsed"] == 0.0
    assert "psnr" not in record["figures"]


def test_images_without_classes(tmp_path, monkeypatch):
    headings, stacked = [], sheet.stacked
    monkeypatch.setattr(sheet, "stacked", lambda blocks: headings.extend(blocks) or stacked(blocks))
    flat = tmp_path / "flat"
    flat.mkdir()
    for file in pictures(tmp_path / "sorted").rglob("*.png"):
        file.rename(flat / f"{file.parts[-3]}-{file.parts[-2]}-{file.name}")
    out = tmp_path / "out"
    base = budget(tmp_path, data=str(flat))
    assert run(STUDY, base, out, rows=("joint",)).failed == {}
    own = figures(out, "joint")
    assert own["accuracy"] is own["accuracy_guided"] is None
    assert own["diversity"] > 0
    text = (out / "table.md").read_text()
    assert "There are no held-out images" in text
    assert "up to 8 training images per run" in text
    assert text.count("held-out") == 1
    assert headings[-1] == "reconstructions of training images"
    lines = introduction(STUDY, base, {}, {"accuracy": 1.0, "held_out_are_training_images": True})
    assert "The classifier is right on 100.0% of training images." in lines
