"""Records the demo's first losses: ``python -m tools.record_golden`` writes ``tests/whole/golden_demo.json``.

The test compares a fresh curve with the recorded one, so that a change of the mathematics cannot pass unseen.
Record anew only when the demo recipe or the mathematics were changed on purpose, and say so in the lab book.
"""

import json
import tempfile
from pathlib import Path

from simflow import recipes
from simflow.fitting import fit
from simflow.settings import override
from simflow.train.callbacks import Callback
from simflow.train.metrics import StepMetrics

STEPS = 5
FILE = Path(__file__).parents[1] / "tests" / "whole" / "golden_demo.json"


class Curve(Callback):
    """Keeps the losses of the first steps."""

    def __init__(self) -> None:
        self.lines: list[dict[str, float]] = []

    def on_step(self, metrics: StepMetrics) -> None:
        """Keeps one step."""
        self.lines.append(metrics.losses | {"grad_norm": metrics.grad_norm, "lr": metrics.lr})


def curve() -> list[dict[str, float]]:
    """Losses, gradient norm and learning rate of the demo's first steps in float32, on one CPU process."""
    config, kept = recipes.get("demo"), Curve()
    config = override(config, {"train.log_every": 1, "train.dtype": "float32"})
    with tempfile.TemporaryDirectory() as folder:
        fit(config, folder, listeners=lambda run, objective: [kept], until=lambda: len(kept.lines) == STEPS)
    return kept.lines


if __name__ == "__main__":
    FILE.write_text(json.dumps(curve(), indent=2) + "\n", encoding="utf-8")
