"""Two processes under torchrun train and sample as one does."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from simflow.cli import main
from tests.whole.tiny import words


def two_processes(given: list[str]) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*launcher, "-m", "simflow", *given],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=environment,
    )


def pictures(folder: Path) -> dict[str, np.ndarray]:
    found = {}
    for path in folder.glob("0*.png"):
        with Image.open(path) as picture:
            found[path.name] = np.asarray(picture).astype(int)
    return found


def test_two_processes_train_and_sample_as_one(tmp_path):
    """Noise differs by rank, so it is left out; what remains must agree but for the order of sums.

    Adam's first steps divide gradients by themselves, so those that are zero but for rounding are damped by eps.
    """
    without_noise = ["--model.posterior", "NoNoise", "--objective.label_drop", "0"]
    without_noise += ["--objective.reconstruction", "PixelMean", "--train.optimizer.eps", "1e-4"]
    common = [*words(tmp_path), *without_noise]
    done = two_processes([*common, "--out", str(tmp_path / "two")])
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("finished at step 4 of 4") == 1
    assert main([*common, "--out", str(tmp_path / "one")]) == 0
    for file in ("model", "ema"):
        one, two = (
            load_file(tmp_path / name / "checkpoints" / "step-0000004" / f"{file}.safetensors")
            for name in ("one", "two")
        )
        for name, tensor in one.items():
            torch.testing.assert_close(two[name], tensor, rtol=1e-3, atol=2e-5, msg=name)
    lines = [(tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("one", "two")]
    assert len(lines[0]) == len(lines[1]) == 4

    sample = ["sample", str(tmp_path / "one"), "--seeds", "0-8", "--device", "cpu"]
    archive = tmp_path / "two.npz"
    done = two_processes([*sample, "--batch", "3", "--out", str(tmp_path / "s2"), "--npz", str(archive)])
    assert done.returncode == 0, done.stderr
    assert main([*sample, "--batch", "9", "--out", str(tmp_path / "s1")]) == 0
    alone, together = pictures(tmp_path / "s1"), pictures(tmp_path / "s2")
    assert alone.keys() == together.keys()
    assert all(np.abs(alone[name] - together[name]).max() <= 1 for name in alone)
    assert np.load(archive)["arr_0"].shape[0] == 9
    assert (tmp_path / "s1" / "labels.csv").read_text() == (tmp_path / "s2" / "labels.csv").read_text()

    for command in ("reconstruct", "interpolate"):
        picture = tmp_path / f"{command}.png"
        done = two_processes([command, str(tmp_path / "one"), "--device", "cpu", "--out", str(picture)])
        assert done.returncode == 0, done.stderr
        assert done.stdout.count(f"in {picture}") == 1
        assert picture.is_file()


def test_a_batch_that_two_cannot_share_is_one_sentence(tmp_path):
    done = two_processes([*words(tmp_path), "--out", str(tmp_path / "run"), "--train.batch", "5"])
    assert done.returncode != 0
    sentence = "simflow: a batch of 5 images cannot be shared equally by 2 processes"
    assert done.stderr.count(sentence) == 1
    assert not (tmp_path / "run").exists()
