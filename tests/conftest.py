"""What all tests share: seeded torch, and property tests that are the same on every run."""

import sys
from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import pytest
import torch
from hypothesis import settings

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
