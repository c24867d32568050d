"""From the flags on speed and memory to a way of sampling: exact, or faster within a bound, in batches that fit."""

import re
from dataclasses import dataclass, replace
from typing import Literal

from simflow.distributed import from_main
from simflow.flow.decode import SEQUENTIAL, Decoding, Plan, Sequential
from simflow.flow.jacobi import Jacobi
from simflow.memory import batch_within
from simflow.model import Model
from simflow.places import notes
from simflow.plan.search import PlanConfig
from simflow.plan.stored import recall
from simflow.plan.trials import candidates
from simflow.precision import NetworkDtype
from simflow.sample import SampleConfig

UNITS = {"B": 1} | {f"{letter}iB": 1024**n for n, letter in enumerate("KMGT", start=1)}
UNITS |= {f"{letter}B": 1000**n for n, letter in enumerate("KMGT", start=1)}


@dataclass(frozen=True, kw_only=True)
class Speed:
    """What is not said is as the run's recipe says: exact, unless it says otherwise."""

    decoding: Literal["sequential", "jacobi", "plan"] | None = None
    """How blocks of a flow are undone: token by token, exactly; in parallel passes; or each in the way that is fastest
    on this machine, as simflow plan stores it (measured now if it has not been)."""
    tolerance: float | None = None
    """With --decoding plan: how far a number of an image, on [-1, 1], may be from exact decoding; 0.02 if not said."""
    jacobi_tolerance: float | None = None
    """With --decoding jacobi: passes end when no number of a block's tokens moves further."""
    jacobi_window: int | None = None
    """With --decoding jacobi: tokens in a window, one window after the other; all at once if not said."""
    graphs: bool = False
    """With sequential decoding on a GPU: the walk of a batch is recorded as a CUDA graph and replayed for later ones of
    its size. Not measured yet."""
    dtype: NetworkDtype | None = None
    """In what networks compute; bfloat16 is faster on GPUs and on CPUs that multiply it, and moves images (simflow
    plan says how far)."""
    memory: str | None = None
    """Most memory, such as 2GiB, for weights, caches and activations on each process: batches are made as small as that
    needs. Leave torch itself and its reserves some of the machine's."""


def sped(config: SampleConfig, speed: Speed, *, model: Model, source: str) -> SampleConfig:
    """The way of sampling with what the flags change; collective.

    Args:
        config: with guidance, refinement and the largest batch.
        speed: as given.
        model: on its device.
        source: where the model is from; plans lie there.

    Raises:
        ValueError: flags that contradict each other or the model, or a memory in which not one image fits.
    """
    if speed.tolerance is not None and speed.decoding != "plan":
        raise ValueError("--tolerance is of the images of a plan: add --decoding plan")
    config = replace(config, decoding=decoding_of(config.decoding, speed))
    config = config if speed.dtype is None else replace(config, dtype=speed.dtype)
    planned = speed.decoding == "plan"
    if not model.prior.by_blocks and (planned or config.decoding != SEQUENTIAL):
        raise ValueError(
            f"this model's prior, {type(model.prior).__name__}, has no blocks to undo: only --decoding sequential is "
            "for it"
        )
    if speed.memory is not None:
        ready = all_ways(model, PlanConfig()) if planned else ()
        config = replace(config, batch=batch_within(model, config, parse_memory(speed.memory), ready))
    if not planned:
        return config
    how = PlanConfig() if speed.tolerance is None else PlanConfig(tolerance=speed.tolerance)
    found = from_main(lambda: recall(model, notes(source), config, how))
    return replace(config, decoding=found.sampling.decoding)


def decoding_of(own: Decoding, speed: Speed) -> Sequential | Jacobi | Plan:
    """The run's own way of decoding, changed or swapped; a plan is not looked for here.

    Raises:
        ValueError: a flag does not belong to the way.
    """
    if speed.decoding in ("sequential", "plan"):
        way: Decoding = SEQUENTIAL
    elif speed.decoding == "jacobi":
        way = own if isinstance(own, Jacobi) else Jacobi()
    else:
        way = own
    if speed.graphs:
        if not isinstance(way, Sequential) or speed.decoding == "plan":
            raise ValueError("--graphs records walks, token by token: add --decoding sequential")
        way = replace(way, graphs=True)
    changes = {"tolerance": speed.jacobi_tolerance, "window": speed.jacobi_window}
    said = {name: value for name, value in changes.items() if value is not None}
    if not said:
        return way
    if not isinstance(way, Jacobi):
        raise ValueError("--jacobi-tolerance and --jacobi-window belong to passes: add --decoding jacobi")
    return replace(way, **said)


def all_ways(model: Model, how: PlanConfig) -> list[Decoding]:
    """All that a plan may come to, and what is tried on the way there."""
    return list(candidates(model.prior.noise_shape[0], 0.0, how.windows))


def parse_memory(text: str) -> int:
    """Bytes from a number and its unit.

    >>> parse_memory("2GiB"), parse_memory("1.5 MB")
    (2147483648, 1500000)

    Raises:
        ValueError: not of this form.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]?i?B)", text.strip())
    if match is None or match[2] not in UNITS:
        raise ValueError(f"memory is written with its unit, 2GiB or 500MiB, not '{text}'")
    return int(float(match[1]) * UNITS[match[2]])
