"""One tiny trained run for all commands that only read it, and a small network in the place of the judges."""

from pathlib import Path

import pytest
import torch

from simflow.evaluate import choose
from simflow.evaluate.extractors import Missing
from simflow.evaluate.inception import Inception
from tests.evaluate.test_collect import Toy
from tests.whole.tiny import trained


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory) -> Path:
    """A finished run folder; its pictures are beside it."""
    return trained(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def toy(monkeypatch):
    """The extractors' place is taken by eight projections of 4 x 4 pixels; ``inception`` is not at hand."""

    def make(name, place):
        if place is not None:
            return Inception.from_file(Path(place))
        if name == "inception":
            raise Missing("FID needs the weights of Inception v3")
        return Shrunk()

    monkeypatch.setattr(choose, "_make", make)


class Shrunk(Toy):
    def see(self, images):
        pooled = torch.nn.functional.adaptive_avg_pool2d(images.float(), 4).expand(-1, 3, -1, -1)
        return super().see(pooled)
