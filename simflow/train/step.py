"""One optimisation step: gradients of the global batch, clipping, AdamW, average.

A global batch larger than what fits is walked in pieces (``microbatch``) whose gradients are averaged; how it is cut
matters to no loss but :class:`~simflow.losses.reconstruction.Calibrated`. All noise of a step comes from one generator
made of (seed, rank, step), so a resumed run draws what the uninterrupted one would have drawn.

Where there is an adversary, each piece is walked twice: the model learns to please the discriminator as it stands,
and the discriminator learns from the same images and reconstructions. Both take their steps at the end, each on its
own parameters: the model's loss reaches only copies of the discriminator's (:mod:`simflow.objective`), and the
reconstructions that the discriminator sees carry no gradient.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any, NamedTuple, cast

import torch
from torch import Generator, Tensor
from torch.nn.parallel import DistributedDataParallel

from simflow import distributed
from simflow.losses.adversarial import AdversarialConfig, Discriminator, Verdict
from simflow.losses.frechet import Populations
from simflow.model import Model
from simflow.objective import Losses, Objective
from simflow.shapes import Images, Labels
from simflow.train.optim import step_clipped
from simflow.train.state import TrainState

Wrapped = Objective | DistributedDataParallel | Callable[..., Losses]


class Adversary(NamedTuple):
    """The second player: a discriminator, and when it plays."""

    config: AdversarialConfig
    discriminator: Discriminator
    wrapped: DistributedDataParallel | Callable[[Images, Images], Verdict]
    """The discriminator, possibly inside a data-parallel shell."""

    def learns_at(self, step: int) -> bool:
        """Whether the discriminator learns in this step."""
        return step >= self.config.start_step - self.config.head_start

    def judge_at(self, step: int) -> Discriminator | None:
        """The discriminator, if the model is to please it in this step."""
        return self.discriminator if step >= self.config.start_step else None


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
    adversary: Adversary | None = None,
) -> Stepped:
    """Moves ``state`` by one step on this rank's images ``(b, channels, height, width)`` in [-1, 1].

    ``wrapped`` is the objective, possibly inside a compiled or data-parallel shell.
    """
    judge = None if adversary is None else adversary.judge_at(state.step)
    opponent = adversary if adversary is not None and adversary.learns_at(state.step) else None
    shells = (wrapped,) if opponent is None else (wrapped, opponent.wrapped)
    for optimizer in state.optimizers.values():
        optimizer.zero_grad(set_to_none=True)
    pieces = list(zip(images.split(microbatch), labels.split(microbatch), strict=True))
    sums: dict[str, Tensor] = {}
    for number, (part, part_labels) in enumerate(pieces, start=1):
        share = part.shape[0] / images.shape[0]
        with unsynced(*shells) if number < len(pieces) else nullcontext():
            with autocast or nullcontext():
                losses = wrapped(part, part_labels, generator, judge)
            (losses.total * share).backward()
            said = losses.named()
            if opponent is not None:
                assert losses.decoded is not None, "the objective knows of no adversary"
                with autocast or nullcontext():
                    verdict = opponent.wrapped(part, losses.decoded)
                (verdict.loss * share).backward()
                said |= verdict.named()
        for name, value in said.items():
            sums[name] = sums.get(name, 0.0) + value.detach() * share

    norm, skipped = step_clipped(state.optimizers["model"], clip)
    if opponent is not None:
        _, also_skipped = step_clipped(state.optimizers["discriminator"], clip)
        skipped = torch.maximum(skipped, also_skipped)
        means = torch.stack([sums["logit_real"], sums["logit_fake"]])
        opponent.discriminator.remember(*distributed.mean_over_ranks(means).unbind())
    cast("Model", state.model).prior.settle(distributed.mean_over_ranks)
    if "populations" in state.modules:
        cast("Populations", state.modules["populations"]).settle(distributed.mean_over_ranks)
    state.ema.update(state.model)
    state.step += 1
    return Stepped(sums, norm, skipped)


def unsynced(*shells: Any) -> AbstractContextManager:
    """Gradients of all but the last piece stay on their rank."""
    stack = ExitStack()
    for shell in shells:
        if isinstance(shell, DistributedDataParallel):
            stack.enter_context(shell.no_sync())
    return stack
