"""What a run says of itself every few steps: plain numbers, already read back from the device.

In a run folder they are lines of ``metrics.jsonl``, one JSON object each: the fields of :class:`StepMetrics`, with each
loss as ``loss/<name>`` and each on held-out images as ``held_out/<name>``, null where it was no number.
:class:`~simflow.train.callbacks.MetricsFile` writes them; here they are read, whole or as curves.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

LOSS = "loss/"
"""What the names of losses begin with in a line."""

HELD_OUT = "held_out/"
"""And those of losses on held-out images."""


@dataclass(frozen=True, kw_only=True)
class StepMetrics:
    """The numbers of one step, the same on every rank."""

    step: int
    """Optimiser steps done, from 1."""
    images: int
    """Training images consumed so far, over all ranks."""
    seconds: float
    """Time spent training so far, over interruptions."""
    images_per_second: float
    """Speed since the last metrics, over all ranks; above 0."""
    lr: float
    """Learning rate of the step."""
    losses: dict[str, float]
    """Every term of the loss by name."""
    grad_norm: float
    """Norm of the whole gradient before clipping."""
    skipped: int = 0
    """Steps not taken so far because their gradient was not finite."""
    held_out: dict[str, float] = field(default_factory=dict)
    """Every term of the loss on held-out images by name; empty unless it was asked for at this step."""


class NoLoss(ValueError):
    """No line of a ``metrics.jsonl`` has a loss that is a number."""


class Curve(NamedTuple):
    """A loss over training; equally many of both, steps ascending."""

    steps: NDArray[np.int64]
    values: NDArray[np.float64]


def flat(metrics: StepMetrics) -> dict[str, int | float]:
    """The metrics as one level of names and numbers, as in a line."""
    numbers = dict(vars(metrics))
    losses, held_out = numbers.pop("losses"), numbers.pop("held_out")
    numbers |= {f"{LOSS}{name}": value for name, value in losses.items()}
    return numbers | {f"{HELD_OUT}{name}": value for name, value in held_out.items()}


def read_lines(metrics: Path) -> list[dict[str, Any]]:
    """The lines of a ``metrics.jsonl``. A run that was taken up again may have several of one step: the last counts.

    Raises:
        ValueError: there is no such file, or a line is damaged.
    """
    if not metrics.is_file():
        raise ValueError(f"there is no file {metrics}")
    lines = []
    for number, text in enumerate(metrics.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            line = json.loads(text)
            int(line["step"])
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(f"line {number} of {metrics} is not a line of metrics") from error
        lines.append(line)
    return lines


def read_curves(metrics: Path) -> dict[str, Curve]:
    """The losses in a ``metrics.jsonl`` by name, in the order of the file; of lines of one step, the last.

    Raises:
        NoLoss: there is no loss in it, or none that is a number.
        ValueError: there is no such file, or a line is damaged.
    """
    curves = _curves(metrics, LOSS)
    if not curves:
        raise NoLoss(f"there is no loss in {metrics}")
    return curves


def read_held_out(metrics: Path) -> dict[str, Curve]:
    """The losses on held-out images likewise; nothing where a run did not look at any.

    Raises:
        ValueError: there is no such file, or a line is damaged.
    """
    return _curves(metrics, HELD_OUT)


def _curves(metrics: Path, prefix: str) -> dict[str, Curve]:
    points: dict[str, dict[int, float]] = {}
    for line in read_lines(metrics):
        for key, value in line.items():
            if key.startswith(prefix) and value is not None:
                points.setdefault(key.removeprefix(prefix), {})[int(line["step"])] = float(value)
    return {name: _curve(values) for name, values in points.items()}


def _curve(values: dict[int, float]) -> Curve:
    steps = sorted(values)
    return Curve(
        np.array(steps, dtype=np.int64), np.array([values[step] for step in steps], dtype=np.float64)
    )
