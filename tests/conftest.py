"""What all tests share: seeded torch, and property tests that are the same on every run."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import settings
from PIL import Image

settings.register_profile("simflow", deadline=None, derandomize=True, database=None, max_examples=60)
settings.load_profile("simflow")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def unchecked(monkeypatch) -> None:
    """Calls as a user's program makes them: the types of arguments are not checked, as pytest has it elsewhere."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture
def desk(tmp_path, monkeypatch) -> Iterator[Path]:
    """The folder where a user is and keeps files of her own; what is imported and offered is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr("simflow.settings._OFFERED", {})
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        places = [getattr(sys.modules[name], "__file__", None), *getattr(sys.modules[name], "__path__", ())]
        if any(str(place).startswith(str(tmp_path)) for place in places):
            del sys.modules[name]


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory) -> Path:
    """A tiny trained run with an analysis, figures and an evaluation: all that a report can show. Tests must not write
    into it."""
    from simflow.cli import main
    from tests.report.evaluation import EVALUATION
    from tests.whole.tiny import trained

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
