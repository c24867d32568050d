"""A real process that is told to stop saves first, and the same command goes on."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from simflow.cli import main
from simflow.train import checkpoint
from tests.whole.tiny import words


def await_first_step(process, run):
    deadline = time.monotonic() + 120
    while not (run / "metrics.jsonl").exists() or not (run / "metrics.jsonl").read_text():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_before_the_end(tmp_path, number):
    run = tmp_path / "run"
    common = [*words(tmp_path), "--out", str(run)]
    command = [sys.executable, "-m", "simflow", *common, "--steps", "1Mi"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    try:
        await_first_step(process, run)
        process.send_signal(number)
        printed, said = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130, said
    assert "stopped and saved at step" in printed
    assert "the run is saved first" in said
    assert "Traceback" not in said
    saved = checkpoint.latest(run / "checkpoints")
    assert saved is not None
    step = checkpoint.step_of(saved)
    assert main([*common, "--steps", str(step + 2)]) == 0
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, step + 3))


def test_who_reads_what_is_said_may_be_gone(tmp_path):
    """Ctrl-C ends the program behind a pipe, such as tee, as well."""
    run = tmp_path / "run"
    command = [sys.executable, "-m", "simflow", *words(tmp_path), "--out", str(run), "--steps", "1Mi"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    try:
        await_first_step(process, run)
        assert process.stdout is not None
        process.stdout.close()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=120) != 0
    finally:
        process.kill()
    assert checkpoint.latest(run / "checkpoints") is not None
