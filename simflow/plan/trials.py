"""The ways of undoing each block, tried one after the other on what the exact walk feeds that block."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from simflow.flow.block import Block
from simflow.flow.decode import SEQUENTIAL, Plan, Way, undo
from simflow.flow.guidance import Guidance
from simflow.flow.jacobi import Jacobi, solve
from simflow.flow.order import reorder
from simflow.flow.stack import Flow
from simflow.memory import is_out
from simflow.plan.clock import Clock
from simflow.plan.record import Trial
from simflow.shapes import Labels, Tokens


def candidates(tokens: int, tolerance: float, windows: Sequence[int]) -> list[Way]:
    """The ways to try for a block of so many tokens, the exact one first.

    >>> [getattr(way, "window", "walk") for way in candidates(16, 1e-3, (64, 16, 8))]
    ['walk', None, 8]
    """
    shorter = [window for window in windows if window < tokens]
    return [SEQUENTIAL, *(Jacobi(window=window, tolerance=tolerance) for window in (None, *shorter))]


def try_blocks(
    flow: Flow, noise: Tokens, labels: Labels, guidance: Guidance | None, tried: Sequence[Way], clock: Clock
) -> tuple[tuple[Trial, ...], ...]:
    """The trials of each block, data -> noise.

    A way that needs more memory than the device has is left out; the walk, which needs least, must fit.

    Args:
        flow: the prior.
        noise: ``(b, n, d)``, a batch as it will be sampled.
        labels: ``(b,)``.
        guidance: of the flow.
        tried: the ways.
        clock: measures time.
    """
    x, found = flow.base.inverse(noise), []
    for _, block, rule in flow.undoing(guidance):
        trials = []
        for way in tried:
            try:
                passes = passes_of(block, x, labels, rule, way)
                seconds = clock(way, partial(undo, block, x, labels, rule, way))
            except RuntimeError as error:
                if way == SEQUENTIAL or not is_out(error):
                    raise
                continue
            trials.append(Trial(way=way, seconds=seconds, passes=passes))
        found.append(tuple(trials))
        x = undo(block, x, labels, rule)
    return tuple(reversed(found))


def passes_of(block: Block, x: Tensor, labels: Labels, rule: Guidance | None, way: Way) -> int:
    """Calls of the network one after the other, for the image that needs most."""
    if not isinstance(way, Jacobi):
        return block.tokens - (block.start is None)
    with torch.inference_mode():
        return int(solve(block, reorder(x, block.order), labels, rule, way).passes.max())


def fastest(trials: Sequence[Sequence[Trial]]) -> Plan:
    """The fastest way of each block; the first of those that take as long.

    >>> slow, fast = (Trial(way=Jacobi(window=w), seconds=w / 8, passes=9) for w in (16, 8))
    >>> fastest([[slow, fast], [slow]]).blocks == (fast.way, slow.way)
    True
    """
    return Plan(blocks=tuple(min(each, key=lambda trial: trial.seconds).way for each in trials))
