"""What all tests share: seeded torch, and property tests that are the same on every run."""

import pytest
import torch
from hypothesis import settings

settings.register_profile("simflow", deadline=None, derandomize=True, database=None, max_examples=60)
settings.load_profile("simflow")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
