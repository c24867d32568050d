"""What a run is told at its start of the machine that it is on."""

from dataclasses import replace

import pytest

from simflow.cli import main
from simflow.cli.train import WORTH_COMPILING, advice
from simflow.recipes import get
from tests.whole.tiny import words

AMX, PLAIN = b"flags: avx512f amx_bf16 amx_tile", b"flags: avx512f avx512_bf16"
AMD = b"flags: avx512f avx512_bf16\nmodel name: AMD EPYC"
LONG = get("demo").with_steps(WORTH_COMPILING).train


@pytest.mark.parametrize("processor", [AMX, AMD])
def test_a_cpu_with_products_of_bfloat16_is_told_of(processor):
    said = advice(LONG, "cpu", processor)
    assert said is not None
    assert "--train.dtype bf16 --train.compile true" in said


@pytest.mark.parametrize(
    ("train", "device", "processor"),
    [
        (LONG, "cpu", PLAIN),
        (LONG, "cpu", b"flags: avx2\nmodel name: AMD EPYC"),
        (LONG, "cuda", AMX),
        (replace(LONG, dtype="bfloat16"), "cpu", AMX),
        (get("demo").with_steps(WORTH_COMPILING - 1).train, "cpu", AMX),
    ],
)
def test_others_are_not(train, device, processor):
    assert advice(train, device, processor) is None


def test_a_run_that_goes_on_is_not_told_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("simflow.cli.train.processor", lambda: AMX)
    monkeypatch.setattr("simflow.cli.train.WORTH_COMPILING", 1)
    given = [*words(tmp_path), "--out", str(tmp_path / "run")]
    for steps, told in (("1", True), ("2", False)):
        assert main([*given, "--steps", steps]) == 0
        assert ("this CPU multiplies bfloat16" in capsys.readouterr().err) == told
