"""One optimisation step: gradients of the global batch, clipping, AdamW, average.

A global batch larger than what fits is walked in pieces (``microbatch``) whose gradients are averaged. All
noise of a step comes from one generator made of (seed, rank, step), so a resumed run draws what the
uninterrupted one would have drawn.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn.parallel import DistributedDataParallel

from simflow.objective import Losses, Objective
from simflow.shapes import Images, Labels
from simflow.train.optim import clip_gradients, step_if_finite
from simflow.train.state import TrainState

Wrapped = Objective | DistributedDataParallel | Callable[[Images, Labels, Generator], Losses]


class Stepped(NamedTuple):
    """What one step says of itself; scalars on the device, not read back yet."""

    losses: dict[str, Tensor]
    grad_norm: Tensor
    skipped: Tensor
    """1.0 if the gradient was not finite and nothing moved."""


def train_step(
    state: TrainState,
    wrapped: Wrapped,
    images: Images,
    labels: Labels,
    *,
    microbatch: int,
    clip: float | None,
    generator: Generator,
    autocast: AbstractContextManager | None = None,
) -> Stepped:
    """Moves ``state`` by one step on this rank's images ``(b, channels, height, width)`` in [-1, 1].

    ``wrapped`` is the objective, possibly inside a compiled or data-parallel shell.
    """
    optimizer = state.optimizers["model"]
    optimizer.zero_grad(set_to_none=True)
    pieces = list(zip(images.split(microbatch), labels.split(microbatch), strict=True))
    sums: dict[str, Tensor] = {}
    for number, (part, part_labels) in enumerate(pieces, start=1):
        share = part.shape[0] / images.shape[0]
        with unsynced(wrapped) if number < len(pieces) else nullcontext():
            with autocast or nullcontext():
                losses = wrapped(part, part_labels, generator)
            (losses.total * share).backward()
        for name, value in losses.named().items():
            sums[name] = sums.get(name, 0.0) + value.detach() * share

    trained = [p for group in optimizer.param_groups for p in group["params"]]
    norm = clip_gradients(trained, clip)
    skipped = step_if_finite(optimizer, norm)
    state.ema.update(state.model)
    state.step += 1
    return Stepped(sums, norm, skipped)


def unsynced(wrapped: Wrapped) -> AbstractContextManager:
    """Gradients of all but the last piece stay on their rank."""
    return wrapped.no_sync() if isinstance(wrapped, DistributedDataParallel) else nullcontext()


def autocast_for(dtype: str, device: torch.device) -> AbstractContextManager:
    """bf16 autocast for ``"bf16"``, nothing for ``"fp32"``; affine maps and losses stay in float32."""
    return torch.autocast(device.type, torch.bfloat16) if dtype == "bf16" else nullcontext()
