"""Samplers side by side: compared with the exact images, then timed in turns."""

import copy
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.ceilings import Work
from benchmarks.measure import Timing, interleaved
from benchmarks.subject import Record, Setting
from simflow.flow.guidance import Guidance
from simflow.flow.stack import Flow
from simflow.memory import is_out
from simflow.shapes import NULL

EXACT = 1e-4
"""Largest error of an exact sampler in float32, relative to the largest number of the images."""
ALLOWED = {"float32": EXACT, "bfloat16": 0.05}
"""The same in each precision: half precision rounds in every layer of every token."""
CHECKED = 4
"""Images of a batch that are compared, spread over it: the walk in float64 is slow and large."""
FORWARD = "forward pass"

Sampler = Callable[[], Tensor]


class Way(NamedTuple):
    """One way to sample a batch, or the forward pass."""

    run: Sampler
    floor: Work
    """What it must do at least."""
    wanted: Tensor | None = None
    """The exact images of the batch's ``rows``; None for what gives no images."""
    allowed: float = EXACT
    """Its largest error, relative to the largest number of the images."""
    beside: str | None = None
    """The way of somebody else that does the same."""
    prepared_by: int = 0
    """Runs before the one that is compared, after which the way does what it does ever after."""


class Batch:
    """A flow, noise and labels, and the exact images of some of them."""

    def __init__(self, flow: Flow, images: int, *, name: str, cut: float | None = None) -> None:
        """``cut`` is the largest size of a number of the noise, or None for no limit."""
        self.flow, self.images, self.name = flow, images, name
        device = flow.chain()[0].embed.weight.device
        generator = torch.Generator(device).manual_seed(0)
        noise = torch.randn(images, *flow.noise_shape, generator=generator, device=device)
        self.z = noise if cut is None else noise.clamp(-cut, cut)
        self.x = torch.randn(images, *flow.latent_shape, generator=generator, device=device)
        numbers = torch.arange(images, device=device)
        self.labels = numbers % flow.classes if flow.classes else torch.full_like(numbers, NULL)
        self.rows = torch.linspace(0, images - 1, min(CHECKED, images), device=device).long()

    def exact(self, reference: Flow, guidance: Guidance | None = None) -> Tensor:
        """Images of ``rows`` by the walk of the same flow in float64."""
        return reference.inverse(self.z[self.rows].double(), self.labels[self.rows], guidance)


def in_float64(flow: Flow) -> Flow:
    """The same flow in double precision, for exact images."""
    return copy.deepcopy(flow).double()


def compare(
    ways: Mapping[str, tuple[Sampler, float]], wanted: Tensor, rows: Tensor | None = None
) -> dict[str, float]:
    """The largest error of each way, in all images or those of ``rows``.

    Raises:
        RuntimeError: a way gives other images.
    """
    errors = {}
    for name, (run, allowed) in ways.items():
        errors[name] = error_of(run(), wanted, rows)
        if not errors[name] <= allowed:
            raise RuntimeError(f"'{name}' gives other images: its error is {errors[name]:.1e}")
    return errors


def error_of(images: Tensor, wanted: Tensor, rows: Tensor | None = None) -> float:
    """The largest error, relative to the largest number of the exact images; NaN stays NaN."""
    chosen = images if rows is None else images[rows]
    return ((chosen.double() - wanted).abs().max() / wanted.abs().max()).item()


def contest(batch: Batch, ways: Mapping[str, Way], setting: Setting) -> list[Record]:
    """A record for each way, none of which has run yet; the forward pass, under its name, is among them.

    Raises:
        RuntimeError: a way gives other images.
    """
    errors: dict[str, float] = {}
    runs: dict[str, Sampler] = {}
    for name, way in ways.items():
        if fits(partial(check, name, way, batch, errors)):
            runs[name] = way.run
        else:
            setting.forget()
    times = interleaved(
        runs, rounds=setting.rounds, device=setting.device, warm_up=False, deadline=setting.deadline
    )
    return [
        record(
            batch,
            name,
            way.floor,
            setting,
            timing=times.get(name),
            forward=times.get(FORWARD),
            error=errors.get(name),
            faster=faster(times, name, way.beside),
            absent=None if name in times else "out of memory",
        )
        for name, way in ways.items()
    ]


def check(name: str, way: Way, batch: Batch, errors: dict[str, float]) -> None:
    """Runs a way until it does what will be timed, and notes its error."""
    for _ in range(way.prepared_by):
        way.run()
    if way.wanted is None:
        way.run()
    else:
        errors |= compare({name: (way.run, way.allowed)}, way.wanted, batch.rows)


def fits(run: Callable[[], object]) -> bool:
    """Whether a run finds the memory that it needs."""
    try:
        run()
    except RuntimeError as error:
        if not is_out(error):
            raise
        return False
    return True


def faster(times: Mapping[str, Timing], name: str, beside: str | None) -> float | None:
    """How many times as fast as the way beside it, where both were timed."""
    if beside is None or beside not in times or name not in times:
        return None
    return times[beside].ratio(times[name])


def timed(batch: Batch, name: str, timing: Timing | None, setting: Setting) -> Record:
    """What was done with a batch, and how long it took; None if it did not come to that."""
    return {
        "flow": batch.name,
        "images": batch.images,
        "tokens": batch.flow.noise_shape[0],
        "precision": setting.dtype,
        "way": name,
        "seconds": None if timing is None else timing.median,
        "rounds": [] if timing is None else timing.rounds,
    }


def record(
    batch: Batch,
    name: str,
    floor: Work,
    setting: Setting,
    *,
    timing: Timing | None,
    forward: Timing | None,
    error: float | None = None,
    faster: float | None = None,
    absent: str | None = None,
    target: float | None = None,
) -> Record:
    """All that is known of one way; ``absent`` says why there is no time, ``target`` which error was asked for."""
    least = floor.seconds(setting.ceilings)
    return timed(batch, name, timing, setting) | {
        "absent": absent,
        "forward passes": None if timing is None or forward is None else timing.ratio(forward),
        "times as fast as the peer": faster,
        "error": error,
        "target error": target,
        "GFLOP": floor.flop / 1e9,
        "GB": floor.bytes / 1e9,
        "floor seconds": least,
        "times the floor": None if timing is None else timing.median / least,
    }
