"""One tiny trained run for all commands that only read it."""

from pathlib import Path

import pytest

from tests.whole.tiny import trained


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory) -> Path:
    """A finished run folder; its pictures are beside it."""
    return trained(tmp_path_factory.mktemp("tiny"))
