"""In what networks compute: where bfloat16 is the faster choice, and how the processor is asked."""

import platform
import subprocess
from pathlib import Path

import pytest
import torch

from simflow import processor
from simflow.precision import faster_dtype, network_dtype

CPU, CUDA, MPS = (torch.device(name) for name in ("cpu", "cuda", "mps"))

AMD = b"model name\t: AMD EPYC 9R14\nflags\t\t: fpu avx512f avx512_bf16"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (b"model name\t: Intel(R) Xeon(R)\nflags\t\t: avx512f avx512_bf16 amx_bf16 amx_tile", "bfloat16"),
        (AMD, "bfloat16"),
        (b"model name\t: Intel(R) Xeon(R)\nflags\t\t: avx512f avx512_bf16", "float32"),
        (b"model name\t: AMD EPYC 7R13\nflags\t\t: avx2", "float32"),
        (b"", "float32"),
    ],
)
def test_a_cpu_must_multiply_it_in_hardware(monkeypatch, lines, expected):
    monkeypatch.setattr("simflow.precision.processor", lambda: lines)
    assert faster_dtype(CPU) == expected


@pytest.mark.parametrize(("able", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_so_must_a_gpu(monkeypatch, able, expected):
    monkeypatch.setattr("simflow.precision.processor", lambda: AMD)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: able)
    assert faster_dtype(CUDA) == expected
    assert faster_dtype(MPS) == "float32"


def test_networks_do_not_compute_in_a_dtype_that_is_still_to_be_chosen():
    with pytest.raises(ValueError, match="the dtype is float32 or bfloat16, not auto"):
        network_dtype("auto")


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="a system that says it otherwise")
def test_the_processor_is_known_by_name_and_instructions():
    said = processor.processor()
    assert platform.machine().encode() in said
    assert any(word in said for word in (b"flags", b"Features"))


def test_that_of_a_mac_is_named_by_the_system(monkeypatch):
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(
        subprocess, "run", lambda words, **_: subprocess.CompletedProcess(words, 0, "Apple M9\n")
    )
    assert processor.brand() == "Apple M9"
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    assert not processor.brand()
