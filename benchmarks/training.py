"""The cost of a training step: ``python -m benchmarks training``.

Without ``--recipe``, one step of a TarFlow beside ml-tarflow's at equal shapes and weights: the energy, its gradient
and AdamW, the same optimiser for both; the losses are compared before anything is timed. With ``--recipe``, the step of
a whole system (:mod:`benchmarks.recipe_step`).

``of the matmul rate`` is the part of the measured rate of a large matrix product that the step's model arithmetic comes
to: three forward passes, attention counted as the causal half that it is. What is recomputed is not counted.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import peers, recipe_step, sizes
from benchmarks.arithmetic import forward_flop
from benchmarks.contest import Batch, fits, timed
from benchmarks.measure import Timing, interleaved
from benchmarks.plots import Panel, bars_by
from benchmarks.subject import Record, Setting

ABOUT: str = "time of a training step, beside ml-tarflow or of a recipe"

OURS, PEER = "SimFlow", "ml-tarflow"
LOSSES_DIFFER = {"float32": 1e-4, "bfloat16": 3e-2}
"""Largest difference of the two losses, in nats per number."""


def add_arguments(parser: ArgumentParser) -> None:
    """Flows, batches, the peer; or a recipe."""
    sizes.add_arguments(parser)
    parser.add_argument("--peer-tarflow", type=Path, help="a checkout of apple/ml-tarflow")
    parser.add_argument("--compile", action="store_true", help="time compiled steps too, ours and the peer's")
    recipe_step.add_arguments(parser)


def measure(chosen: Namespace, setting: Setting) -> Iterator[Record]:
    """A record for each step."""
    if chosen.recipe is not None:
        yield from recipe_step.measure(chosen, setting)
        return
    for case, flow in sizes.flows(chosen, setting):
        peer = None if chosen.peer_tarflow is None else peers.tarflow(chosen.peer_tarflow, flow)
        for images in case.in_time(setting):
            batch = Batch(flow, images, name=case.name)
            yield from contest(batch, peer, setting, compiled=chosen.compile)


def contest(batch: Batch, peer: Any, setting: Setting, *, compiled: bool) -> list[Record]:
    """A record for our step, and one for the peer's if there is a peer."""
    flow, labels, generator = batch.flow.train(), batch.labels, torch.Generator(setting.device)
    numbers = batch.x[0].numel()

    def loss() -> Tensor:
        return flow.energy(batch.x, labels, generator).value.mean() / numbers

    losses = {OURS: (loss, flow)}
    if peer is not None:
        peer.train()

        def peer_loss() -> Tensor:
            z, _, log_det = peer(batch.x, labels)
            return peer.get_loss(z, log_det)

        losses[PEER] = (peer_loss, peer)
        same_loss(loss, peer_loss, setting)
    if compiled:
        losses |= {
            f"{name}, compiled": (torch.compile(each), model) for name, (each, model) in losses.items()
        }
    steps = {name: Step(each, model, setting) for name, (each, model) in losses.items()}
    runs = {name: step for name, step in steps.items() if fits(step)}
    times = interleaved(runs, rounds=setting.rounds, device=setting.device, deadline=setting.deadline)
    flop = 3 * forward_flop(flow, batch.images)
    return [
        record(batch, name, times.get(name), flop, setting)
        | {"of ours": times[name].ratio(times[OURS]) if {name, OURS} <= times.keys() else None}
        for name in steps
    ]


def same_loss(ours: Callable[[], Tensor], theirs: Callable[[], Tensor], setting: Setting) -> None:
    """Compares the losses.

    Raises:
        RuntimeError: they differ.
    """
    with torch.no_grad(), setting.autocast():
        gap = (ours() - theirs()).abs().item()
    if not gap <= LOSSES_DIFFER[setting.dtype]:
        raise RuntimeError(f"the losses of the two models differ by {gap:.1e}")


class Step:
    """Gradient and AdamW, with a rate so small that the weights stay."""

    def __init__(self, loss: Callable[[], Tensor], model: nn.Module, setting: Setting) -> None:
        self.loss, self.setting = loss, setting
        self.optimiser = torch.optim.AdamW(model.parameters(), lr=1e-9, weight_decay=0.0, fused=True)

    def __call__(self) -> None:
        self.optimiser.zero_grad(set_to_none=True)
        with self.setting.autocast():
            loss = self.loss()
        loss.backward()
        self.optimiser.step()


def record(batch: Batch, name: str, timing: Timing | None, flop: float, setting: Setting) -> Record:
    """All that is known of one step; without a time it did not fit into memory."""
    seconds = None if timing is None else timing.median
    return timed(batch, name, timing, setting) | {
        "GFLOP": flop / 1e9,
        "of the matmul rate": None if seconds is None else flop / seconds / setting.ceilings.flops,
    }


def row(record: Record) -> dict[str, str]:
    """A record as it is printed."""
    if "recipe" in record:
        return recipe_step.row(record)
    seconds, ratio, share = record["seconds"], record["of ours"], record["of the matmul rate"]
    return {
        "flow": record["flow"],
        "images × tokens": f"{record['images']} × {record['tokens']}",
        "step of": record["way"],
        "ms": "out of memory" if seconds is None else f"{1e3 * seconds:.1f}",
        "images/s": "" if seconds is None else f"{record['images'] / seconds:.1f}",
        "times ours": "" if ratio is None else f"{ratio:.2f}",
        "GFLOP": f"{record['GFLOP']:.1f}",
        "of the matmul rate": "" if share is None else f"{share:.0%}",
    }


def panels(records: Sequence[Record]) -> list[Panel]:
    """Milliseconds of each batch, with the share of the matmul rate."""
    return bars_by(
        records,
        title=lambda each: (
            f"{each['flow']}: {each['images']} × {each['tokens']} tokens"
            if "flow" in each
            else f"{each['recipe']} at {each['side']} px"
        ),
        note=lambda each: f"{each['of the matmul rate']:.0%} of the matmul rate",
    )
