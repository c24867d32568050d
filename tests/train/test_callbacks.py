"""Metrics survive as JSON lines, a collapse is said once, a stop is a request, numbers are shown right."""

import io
import json
import logging
import math
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from simflow.train import callbacks
from simflow.train.callbacks import CollapseMonitor, MetricsFile, Stopper
from simflow.train.metrics import StepMetrics
from simflow.train.optim import StageConfig
from simflow.train.progress import Progress
from simflow.train.trackers import TensorBoard, Wandb

STAGES = (StageConfig(steps=60), StageConfig(steps=40))
FLOOR = math.log(0.5) + 0.5


def at(step: int, *, prior: float = 0.4, seconds: float = 0.0, skipped: int = 0) -> StepMetrics:
    losses = {"total": 1.5, "prior": prior}
    return StepMetrics(
        step=step,
        images=step * 8,
        seconds=seconds,
        images_per_second=16.0,
        lr=1e-4,
        losses=losses,
        grad_norm=0.5,
        skipped=skipped,
    )


def test_metrics_are_on_disk_line_by_line_and_appended(tmp_path):
    path = tmp_path / "metrics.jsonl"
    first = MetricsFile(path)
    first.on_step(at(1, prior=math.nan))
    (line,) = path.read_text().splitlines()
    record = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert record == {
        "step": 1,
        "images": 8,
        "seconds": 0.0,
        "images_per_second": 16.0,
        "lr": 1e-4,
        "grad_norm": 0.5,
        "skipped": 0,
        "loss/total": 1.5,
        "loss/prior": None,
    }
    first.on_end()
    second = MetricsFile(path)
    second.on_step(at(2))
    second.on_end()
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2]


def test_other_ranks_write_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(callbacks, "is_main", lambda: False)
    other = MetricsFile(tmp_path / "metrics.jsonl")
    other.on_step(at(1))
    other.on_end()
    assert not (tmp_path / "metrics.jsonl").exists()


def warnings_of(caplog, floor, losses, **options) -> list[str]:
    monitor = CollapseMonitor(floor, **options)
    for step, loss in enumerate(losses, start=1):
        monitor.on_step(at(step, prior=loss))
    return [record.getMessage() for record in caplog.records]


def test_a_collapse_is_said_once(caplog):
    (sentence,) = warnings_of(caplog, FLOOR, [0.6] + [FLOOR + 0.03] * 100)
    assert "within 0.05 of its floor -0.193" in sentence
    assert "the prior loss" in sentence


def test_a_collapse_is_said_again_after_a_recovery_but_not_at_a_wobble(caplog):
    near, wobble, far = FLOOR + 0.04, FLOOR + 0.06, FLOOR + 0.2
    assert len(warnings_of(caplog, FLOOR, [near, wobble, near], smoothing=0.0)) == 1
    caplog.clear()
    assert len(warnings_of(caplog, FLOOR, [near, far, near], smoothing=0.0)) == 2


def test_healthy_noisy_or_floorless_losses_are_not_warned_of(caplog):
    assert warnings_of(caplog, FLOOR, [0.3] * 50 + [FLOOR] + [math.nan] + [0.3] * 50) == []
    assert warnings_of(caplog, None, [-5.0]) == []


def test_the_first_signal_asks_and_the_second_stops(capfd):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with Stopper() as stopper:
        assert (stopper.stopped, stopper.agreed(wanted=False), stopper.agreed(wanted=True)) == (
            False,
            False,
            True,
        )
        os.kill(os.getpid(), signal.SIGTERM)
        assert (stopper.stopped, stopper.agreed(wanted=False)) == (True, True)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert capfd.readouterr().err.count("the run is saved first") == 1


def test_handlers_are_restored_after_an_error():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyError, match="broken"), Stopper():
        raise KeyError("broken")
    assert signal.getsignal(signal.SIGINT) is before


def test_a_handler_that_is_not_of_python_leaves_the_systems_own(monkeypatch):
    before, install = signal.getsignal(signal.SIGINT), signal.signal
    monkeypatch.setattr(signal, "signal", lambda number, handler: install(number, handler) and None)
    try:
        with Stopper():
            pass
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
    finally:
        install(signal.SIGINT, before)
        install(signal.SIGTERM, signal.SIG_DFL)


def test_lines_come_every_few_seconds_and_at_both_ends(caplog):
    caplog.set_level(logging.INFO, logger="simflow")
    shown = Progress(
        STAGES, floor=FLOOR, console=Console(file=io.StringIO(), force_terminal=False), every=10.0
    )
    for step, seconds in [(1, 0.0), (5, 9.0), (61, 12.0), (80, 15.0), (100, 16.0)]:
        shown.on_step(at(step, seconds=seconds, skipped=2 if step == 61 else 0))
    shown.on_checkpoint(Path("checkpoints/step-0000100"))
    shown.on_end()
    lines = [record.getMessage() for record in caplog.records]
    assert [line.split(":")[0] for line in lines[:3]] == [
        "stage 1/2, step 1/100",
        "stage 2/2, step 61/100",
        "stage 2/2, step 100/100",
    ]
    assert "total 1.5000, prior 0.4000 (0.593 above its floor), lr 0.0001, gradient 0.5" in lines[0]
    assert "16 images/s, 0:00:50 left" in lines[0]
    assert "2 steps skipped" in lines[1]
    assert lines[3] == "saved checkpoints/step-0000100"


def test_a_terminal_gets_a_bar(caplog):
    caplog.set_level(logging.INFO, logger="simflow")
    text = io.StringIO()
    shown = Progress(STAGES, console=Console(file=text, force_terminal=True, width=200))
    shown.on_step(at(30))
    shown.on_end()
    assert "stage 1/2" in text.getvalue()
    assert "30/100" in text.getvalue()
    assert "16 images/s, 0:00:35 left" in text.getvalue()
    assert "floor" not in text.getvalue()
    assert caplog.records == []


def test_a_tracker_that_is_not_installed_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ValueError, match="pip install tensorboard"):
        TensorBoard(tmp_path)
    with pytest.raises(ValueError, match="pip install wandb"):
        Wandb(tmp_path, name="n", config={})


class Recorder:
    """Stands for both trackers' writers."""

    def __init__(self, *arguments, **options):
        self.arguments, self.options, self.points, self.closed = arguments, options, {}, False

    def add_scalar(self, name, value, step):
        self.points[name, step] = value

    def log(self, numbers, step):
        self.points |= {(name, step): value for name, value in numbers.items()}

    def close(self):
        self.closed = True

    finish = close


def test_trackers_get_every_number_and_wandb_keeps_its_id(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=Recorder))
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=Recorder))
    board = TensorBoard(tmp_path)
    first, second = (Wandb(tmp_path, name="n", config={"a": 1}) for _ in range(2))
    assert first.run.options["id"] == second.run.options["id"]
    assert first.run.options["config"] == {"a": 1}
    for tracker in (board, first):
        tracker.on_step(at(3))
        tracker.on_end()
    assert board.writer.options == {"purge_step": 3}, "steps made once more are shown once"
    for writer in (board.writer, first.run):
        assert (writer.points["loss/prior", 3], writer.points["lr", 3]) == (0.4, 1e-4)
        assert writer.closed


def test_without_a_floor_a_loss_that_falls_without_end_is_a_collapse(caplog):
    falling = [-1.0, -2.4, -2.6, -6.0]
    (sentence,) = warnings_of(caplog, None, falling, bottom=-2.5, smoothing=0.0)
    assert "the prior loss -2.600 is below -2.5 and nothing bounds it" in sentence
    assert "give the posterior some noise" in sentence
    caplog.clear()
    assert len(warnings_of(caplog, None, [*falling, -1.0, -3.0], bottom=-2.5, smoothing=0.0)) == 2
