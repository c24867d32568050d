"""Which of many images a picture shows."""

import torch

from simflow.cli.pictures import PAIRS, pairs_of
from simflow.data.order import spread
from simflow.evaluate.collect import Held
from simflow.export import pairs_grid


def test_pairs_of_many_are_evenly_spread():
    """A set lies class by class, and the first images are all of one."""
    levels = torch.arange(2 * PAIRS, dtype=torch.uint8).reshape(-1, 1, 1, 1).expand(-1, 1, 64, 64)
    originals, dark = (
        Held(pixels=each, labels=torch.zeros(len(each)).long()) for each in (levels, levels // 2)
    )
    shown = spread(2 * PAIRS, PAIRS)
    expected = pairs_grid(levels[shown], levels[shown] // 2, columns=20)
    assert pairs_of(originals, dark).tobytes() == expected.tobytes()
