"""What a run says of itself every few steps: plain numbers, already read back from the device."""

from dataclasses import dataclass, field


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
