"""The same run, longer or shorter: what ``--steps`` does to stages and their warm-ups."""

from collections.abc import Sequence
from dataclasses import replace

from simflow.train.optim import StageConfig, total_steps


def stretched(stages: Sequence[StageConfig], steps: int) -> tuple[StageConfig, ...]:
    """The same stages over another number of steps: lengths and warm-ups in proportion.

    >>> short = stretched([StageConfig(steps=300), StageConfig(steps=100)], 100)
    >>> [stage.steps for stage in short]
    [75, 25]

    Raises:
        ValueError: there are fewer steps than stages need.
    """
    whole, done, ends = total_steps(stages), 0, [0]
    for stage in stages:
        done += stage.steps
        ends.append(round(done * steps / whole))
    made = []
    for stage, start, end in zip(stages, ends, ends[1:], strict=False):
        length = end - start
        warmup = min(stage.schedule.warmup * steps // whole, max(length - 1, 0))
        made.append(StageConfig(steps=length, schedule=replace(stage.schedule, warmup=warmup)))
    return tuple(made)
