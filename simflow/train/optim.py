"""AdamW, the learning rate as a pure function of the step, and the step that refuses broken gradients.

A run is a list of *stages*, each a number of steps and a schedule. SimFlow trains one stage at a constant
1e-4 and a second one with a cosine from 1e-4 to 1e-6 (appendix B): the schedule starts again, the moments and
the average do not. :func:`learning_rate` is a function of the step alone, so a resumed run needs no schedule
state.

Nothing here waits for the GPU. If the norm of the gradients is not finite, the step must be skipped, but asking
would stop the queue of kernels at every step. PyTorch's fused optimisers take the answer as a tensor: with
``found_inf`` at 1 the kernel leaves weights, moments and step counters alone, and it divides the gradients by
``grad_scale`` on its way. Loss scaling for float16 uses these channels; :func:`step_clipped` clips through them, which
saves a pass over all gradients. The unfused optimiser has neither, so there the question is asked.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import AdamW

from simflow.bounds import not_negative, positive, share

DEAF = ("mps",)
"""Kinds of devices whose fused AdamW takes no notice of a broken step or of a scale of gradients."""


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW with the values of SimFlow, appendix B."""

    lr: float = 1e-4
    """Learning rate that the schedules multiply."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of the first and the second moment per step."""
    eps: float = 1e-8
    """Added to the root of the second moment."""
    weight_decay: float = 0.0
    """Decoupled weight decay; parameters with fewer than two axes (biases, norms) are spared."""
    clip: float | None = 1.0
    """Largest norm of the whole gradient, or null for no clipping."""
    fused: bool = True
    """Whether to use the fused kernel, which is also what skips a broken step without waiting for the GPU. On devices
    where it does not (:data:`DEAF`), the plain one is used."""

    def __post_init__(self) -> None:
        not_negative(self, "train.optimizer", "lr", "eps", "weight_decay")
        positive(self, "train.optimizer", "clip")
        share(self, "train.optimizer", "betas")

    def build(self, module: nn.Module) -> AdamW:
        """The optimiser of the module's parameters that require a gradient.

        Raises:
            ValueError: there is nothing to train.
        """
        trained = [p for p in module.parameters() if p.requires_grad]
        if not trained:
            raise ValueError("there is nothing to train: all parameters are frozen")
        groups = [
            {"params": [p for p in trained if p.ndim > 1], "weight_decay": self.weight_decay},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]]
        fused = self.fused and not any(p.device.type in DEAF for p in trained)
        return AdamW(groups, lr=self.lr, betas=self.betas, eps=self.eps, fused=fused)


@dataclass(frozen=True, kw_only=True)
class Constant:
    """The full rate, after ``warmup`` steps of linear rise."""

    warmup: int = 0
    """Steps of linear rise at the start."""

    def factor(self, step: int, steps: int) -> float:
        """What multiplies the learning rate at ``step`` of ``steps``; a warm-up does not start at 0."""
        return _rise(step, self.warmup)


@dataclass(frozen=True, kw_only=True)
class Cosine:
    """Half a cosine from the full rate to ``final`` times it, after ``warmup`` steps of linear rise."""

    final: float = 0.01
    """What is left of the learning rate at the end, as a factor: 0.01 leads from 1e-4 to 1e-6."""
    warmup: int = 0
    """Steps of linear rise at the start."""

    def __post_init__(self) -> None:
        not_negative(self, "schedule", "final")

    def factor(self, step: int, steps: int) -> float:
        """What multiplies the learning rate at ``step`` of ``steps``; ``final`` is reached at ``steps``."""
        part = _progress(step, steps, self.warmup)
        fall = self.final + (1 - self.final) * (1 + math.cos(math.pi * part)) / 2
        return _rise(step, self.warmup) * fall


@dataclass(frozen=True, kw_only=True)
class Linear:
    """A straight line from the full rate to ``final`` times it, after ``warmup`` steps of linear rise."""

    final: float = 0.0
    """What is left of the learning rate at the end, as a factor."""
    warmup: int = 0
    """Steps of linear rise at the start."""

    def __post_init__(self) -> None:
        not_negative(self, "schedule", "final")

    def factor(self, step: int, steps: int) -> float:
        """What multiplies the learning rate at ``step`` of ``steps``; ``final`` is reached at ``steps``."""
        return _rise(step, self.warmup) * (1 + (self.final - 1) * _progress(step, steps, self.warmup))


Schedule = Constant | Cosine | Linear
"""How the learning rate moves within one stage."""


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """A stretch of the run with its own schedule."""

    steps: int
    """Optimiser steps; Ki and Mi may be used."""
    schedule: Schedule = Constant()
    """How the learning rate moves."""

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"a stage needs at least one step, not {self.steps}")
        if not 0 <= self.schedule.warmup < self.steps:
            raise ValueError(
                f"a warm-up of {self.schedule.warmup} steps does not fit in a stage of {self.steps}"
            )


def total_steps(stages: Sequence[StageConfig]) -> int:
    """Steps of the whole run."""
    return sum(stage.steps for stage in stages)


def stage_at(stages: Sequence[StageConfig], step: int) -> tuple[int, int]:
    """The stage that ``step`` (from 0) belongs to, and the step within it; past the end, the end of the last.

    >>> stages = [StageConfig(steps=10), StageConfig(steps=5)]
    >>> [stage_at(stages, step) for step in (0, 9, 10, 15)]
    [(0, 0), (0, 9), (1, 0), (1, 5)]
    """
    for number, stage in enumerate(stages):
        if step < stage.steps or number == len(stages) - 1:
            return number, min(step, stage.steps)
        step -= stage.steps
    raise ValueError("a run needs at least one stage")


def learning_rate(stages: Sequence[StageConfig], base: float, step: int) -> float:
    """The learning rate of ``step``, counted from 0 over all stages."""
    number, within = stage_at(stages, step)
    return base * stages[number].schedule.factor(within, stages[number].steps)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Sets the rate of every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = rate


@torch.no_grad()
def step_clipped(optimizer: torch.optim.Optimizer, limit: float | None) -> tuple[Tensor, Tensor]:
    """Takes the optimiser's step with gradients scaled together to a norm of at most ``limit``.

    Nothing moves if their norm is infinite or not a number. The gradients are spent afterwards. Without a host sync if
    the optimiser is fused.

    Args:
        optimizer: AdamW over parameters whose gradients are there.
        limit: largest norm of all gradients together, or ``None`` for no clipping.

    Returns:
        The norm before clipping, and 1.0 if the step was skipped and 0.0 if not (sum these to count); both of
        shape ``()``, on the device.
    """
    trained = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    norm = get_total_norm([p.grad for p in trained])
    broken = (~norm.isfinite()).float()
    if optimizer.defaults["fused"]:
        signals = {"found_inf": broken}
        if limit is not None:
            signals["grad_scale"] = ((norm + 1e-6) / limit).clamp(min=1.0).float()
        vars(optimizer).update(signals)
        optimizer.step()
        for name in signals:
            delattr(optimizer, name)
    elif not broken:
        if limit is not None:
            clip_grads_with_norm_(trained, limit, norm)
        optimizer.step()
    return norm, broken


def _rise(step: int, warmup: int) -> float:
    return min(1.0, (step + 1) / (warmup + 1))


def _progress(step: int, steps: int, warmup: int) -> float:
    return max(0.0, (step - warmup) / (steps - warmup))
