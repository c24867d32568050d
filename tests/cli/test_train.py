"""What a run is told at its start of the machine that it is on."""

from dataclasses import replace

import pytest

from simflow.cli.train import WORTH_COMPILING, advice
from simflow.recipes import get

AMX, PLAIN = b"flags: avx512f amx_bf16 amx_tile", b"flags: avx512f avx512_bf16"
LONG = get("demo").with_steps(WORTH_COMPILING).train


def test_a_cpu_with_products_of_bfloat16_is_told_of():
    said = advice(LONG, "cpu", AMX)
    assert said is not None
    assert "--train.dtype bf16 --train.compile true" in said


@pytest.mark.parametrize(
    ("train", "device", "processor"),
    [
        (LONG, "cpu", PLAIN),
        (LONG, "cuda", AMX),
        (replace(LONG, dtype="bfloat16"), "cpu", AMX),
        (get("demo").with_steps(WORTH_COMPILING - 1).train, "cpu", AMX),
    ],
)
def test_others_are_not(train, device, processor):
    assert advice(train, device, processor) is None
