"""A tiny trained run with an analysis, figures and an evaluation: all that a report can show."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from simflow.cli import main
from tests.report.evaluation import EVALUATION
from tests.whole.tiny import trained


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory) -> Path:
    """A run folder with everything in it; tests must not write into it."""
    run = trained(tmp_path_factory.mktemp("report"))
    words = [
        "--num",
        "12",
        "--samples",
        "12",
        "--guidance",
        "0.0",
        "2.0",
        "--gamma",
        "0.1",
        "0.5",
        "--extractor",
        "none",
        "--device",
        "cpu",
    ]
    assert main(["analyze", str(run), *words, "--levels", "0.0", "1.0"]) == 0
    folder = run / "evaluation"
    folder.mkdir()
    (folder / "results.json").write_text(json.dumps(EVALUATION))
    for what in ("neighbours", "real"):
        Image.fromarray(np.zeros((8, 8), dtype=np.uint8)).save(folder / f"results-{what}.png")
    return run
