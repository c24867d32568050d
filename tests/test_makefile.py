"""``make clean`` takes away what ``make`` has made, and leaves the runs of the user."""

import shutil
import subprocess
from pathlib import Path

import pytest


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_clean_leaves_trained_runs():
    root = Path(__file__).parents[1]
    done = subprocess.run(["make", "-n", "clean"], cwd=root, capture_output=True, text=True, check=True)
    removed = done.stdout.split()
    assert "runs/demo" in removed
    assert "runs" not in removed
