"""What a run is told at its start of the machine that it is on."""

from dataclasses import replace

import pytest

from simflow.cli import main
from simflow.cli.train import WORTH_COMPILING, advice
from simflow.recipes import get
from tests.whole.tiny import words

AMX, PLAIN = b"flags: avx512f amx_bf16 amx_tile", b"flags: avx512f avx512_bf16"
LONG = get("demo").with_steps(WORTH_COMPILING).train


@pytest.mark.parametrize("dtype", ["auto", "bfloat16"])
def test_a_long_run_in_bfloat16_is_told_of_compiling(dtype):
    said = advice(replace(LONG, dtype=dtype), "cpu", AMX)
    assert said is not None
    assert "--train.compile true" in said


@pytest.mark.parametrize(
    ("train", "device", "processor"),
    [
        (LONG, "cpu", PLAIN),
        (replace(LONG, dtype="float32"), "cpu", AMX),
        (LONG, "cuda", AMX),
        (replace(LONG, compile=True), "cpu", AMX),
        (get("demo").with_steps(WORTH_COMPILING - 1).train, "cpu", AMX),
    ],
)
def test_others_are_not(train, device, processor):
    assert advice(train, device, processor) is None


def test_a_run_that_goes_on_is_not_told_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("simflow.cli.train.processor", lambda: AMX)
    monkeypatch.setattr("simflow.cli.train.WORTH_COMPILING", 1)
    given = [*words(tmp_path), "--train.dtype", "auto", "--out", str(tmp_path / "run")]
    for steps, told in (("1", True), ("2", False)):
        assert main([*given, "--steps", steps]) == 0
        assert ("--train.compile true" in capsys.readouterr().err) == told
