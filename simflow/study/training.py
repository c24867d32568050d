"""What a finished training says of itself: its cost, its last losses, and whether its latents collapsed.

All of it is read from the run folder, so a run that was trained by another process, or yesterday, says the same.
"""

import math
from pathlib import Path
from typing import Any

from simflow.config import RunConfig
from simflow.model import Model
from simflow.train import checkpoint
from simflow.train.callbacks import COLLAPSE
from simflow.train.metrics import read_lines
from simflow.train.optim import total_steps
from simflow.train.runs import RunFolder

SHARE = 20
"""The last losses are means over this part of the logged steps."""


def is_trained(folder: Path, config: RunConfig) -> bool:
    """Whether the run's newest checkpoint is that of its last step."""
    newest = RunFolder(folder).newest
    return newest is not None and checkpoint.step_of(newest) >= total_steps(config.train.stages)


def seconds_of(folder: Path) -> float:
    """Seconds of training behind the newest checkpoint, over interruptions."""
    return float(_state(folder)["extra"]["seconds"])


def told(folder: Path, config: RunConfig, model: Model) -> dict[str, Any]:
    """The figures of :data:`simflow.study.columns.TRAINING` but that of the autoencoder before, and ``diverged``:
    whether the loss at the end is no number."""
    state, lines = _state(folder), read_lines(RunFolder(folder).metrics)
    if not lines:
        raise ValueError(f"there are no losses in {RunFolder(folder).metrics}")
    last = lines[-max(1, len(lines) // SHARE) :]
    floor = config.objective.floor(model)
    prior = _mean(last, "loss/prior")
    seconds = float(state["extra"]["seconds"])
    log = RunFolder(folder).log
    return {
        "steps": state["step"],
        "mse": _mean(last, "loss/mse"),
        "prior": prior,
        "above_floor": None if floor is None or prior is None else prior - floor,
        "collapsed": float(log.is_file() and COLLAPSE in log.read_text(encoding="utf-8")),
        "skipped": lines[-1]["skipped"],
        "diverged": any(line["loss/total"] is None for line in last),
        "prior_parameters": sum(parameter.numel() for parameter in model.prior.parameters()),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "seconds": seconds,
        "images_per_second": state["images_seen"] / max(seconds, 1e-9),
    }


def _state(folder: Path) -> dict[str, Any]:
    return checkpoint.load_record(checkpoint.find(folder))


def _mean(lines: list[dict[str, Any]], key: str) -> float | None:
    """The mean of a loss, None if it is not logged."""
    values = [line[key] for line in lines if line.get(key) is not None]
    return math.fsum(values) / len(values) if values else None
