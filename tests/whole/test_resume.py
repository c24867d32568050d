"""A run that was stopped and started again ends as if it had never been stopped, bit for bit."""

import json
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from simflow.cli import main
from simflow.train import loop
from simflow.train.metrics import StepMetrics
from tests.whole.tiny import words

CLOCK = {"seconds", "images_per_second"}
"""Metrics that no two runs share."""


class StopAt:
    """A listener that sends its own process SIGTERM after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, metrics: StepMetrics) -> None:
        if metrics.step == self.step:
            signal.raise_signal(signal.SIGTERM)

    def on_checkpoint(self, path: Path) -> None:
        pass

    def on_end(self) -> None:
        pass


def stopping(monkeypatch, *, at: int | None) -> None:
    listeners = [] if at is None else [StopAt(at)]
    monkeypatch.setattr("simflow.cli.train.listeners", lambda *_: listeners)


def metrics(run: Path) -> list[dict]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in CLOCK} for line in lines]


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--train.microbatch", "3", "--train.dtype", "bf16"],
        ["--train.sample_every", "2", "--train.save_every", "2", "--train.keep", "1"],
        ["--model.posterior", "LearnedVariance", "--train.optimizer.clip", "0.1"],
        ["--model.prior.block.dropout", "0.3"],
        [
            "--objective.frechet",
            "{size: 32, maps: [2, 4], memory: 2, weight: 1.0}",
            "--train.microbatch",
            "3",
        ],
        [
            "--objective.adversarial",
            "{network: {filters: 8, layers: 1}, lecam: 0.1, start_step: 4, head_start: 1}",
        ],
    ],
    ids=lambda flags: " ".join(flags) or "plain",
)
def test_stopped_and_resumed_equals_uninterrupted(tmp_path, monkeypatch, flags):
    length = ["--steps", "8", "--train.stages.0.schedule", "{type: Cosine, warmup: 2}"]
    common = [*words(tmp_path), *length, *flags]
    stopping(monkeypatch, at=None)
    assert main([*common, "--out", str(tmp_path / "straight")]) == 0
    for at in (3, 4):
        stopping(monkeypatch, at=at)
        assert main([*common, "--out", str(tmp_path / "stopped")]) == 130
        assert (tmp_path / "stopped" / "checkpoints" / f"step-000000{at}").is_dir()
    stopping(monkeypatch, at=None)
    assert main([*common, "--out", str(tmp_path / "stopped")]) == 0

    ends = [tmp_path / name / "checkpoints" / "step-0000008" for name in ("straight", "stopped")]
    files = sorted(path.name for path in ends[0].glob("*.safetensors"))
    assert {"model.safetensors", "ema.safetensors", "optimizer.safetensors"} <= set(files)
    for file in files:
        first, second = (load_file(end / file) for end in ends)
        assert first.keys() == second.keys()
        differing = [name for name, tensor in first.items() if not tensor.equal(second[name])]
        assert differing == []
    lines = metrics(tmp_path / "straight")
    assert [line["step"] for line in lines] == list(range(1, 9))
    assert metrics(tmp_path / "stopped") == lines


def test_skipped_steps_are_counted_over_an_interruption(tmp_path, monkeypatch):
    real = loop.train_step

    def skips_the_second(state, *args, **kwargs):
        skipped = torch.tensor(float(state.step == 1))
        return real(state, *args, **kwargs)._replace(skipped=skipped)

    monkeypatch.setattr(loop, "train_step", skips_the_second)
    for at, code in ((3, 130), (None, 0)):
        stopping(monkeypatch, at=at)
        assert main([*words(tmp_path), "--out", str(tmp_path / "run"), "--steps", "5"]) == code
    assert [line["skipped"] for line in metrics(tmp_path / "run")] == [0, 1, 1, 1, 1]


def test_a_finished_run_does_nothing_and_goes_on_when_lengthened(tmp_path, capsys):
    common = [*words(tmp_path), "--out", str(tmp_path / "run")]
    assert main(common) == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("checkpoints/*/*")}
    assert main(common) == 0
    assert "nothing left to train" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.rglob("checkpoints/*/*")} == before
    assert main([*common, "--steps", "6", "--train.log_every", "2"]) == 0
    assert [line["step"] for line in metrics(tmp_path / "run")] == [1, 2, 3, 4, 6]


def test_other_images_are_warned_of(tmp_path, capsys):
    common = [*words(tmp_path), "--out", str(tmp_path / "run")]
    assert main(common) == 0
    (tmp_path / "pictures" / "train" / "bag" / "7.png").unlink()
    assert main([*common, "--steps", "5"]) == 0
    assert "the images are not those that the run began with" in capsys.readouterr().err


def test_a_run_of_an_earlier_version_goes_on_with_the_settings_that_have_come_since(tmp_path, capsys):
    common = [*words(tmp_path), "--out", str(tmp_path / "run")]
    assert main([*common, "--steps", "2"]) == 0
    file = tmp_path / "run" / "config.json"
    record = json.loads(file.read_text())
    del record["config"]["train"]["ema"]["rate"], record["config"]["data"]["alike"]
    file.write_text(json.dumps(record))
    assert main([*common, "--steps", "4"]) == 2, "the rate of the average is not the default's"
    assert "train.ema.rate is 0.9999 there and 0.9 here" in capsys.readouterr().err
    record["config"]["train"]["ema"]["rate"] = 0.9
    file.write_text(json.dumps(record))
    assert main([*common, "--steps", "4"]) == 0
    assert "finished at step 4" in capsys.readouterr().out
