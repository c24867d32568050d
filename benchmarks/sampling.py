"""The cost of a sample, in forward passes of the same batch: ``python -m benchmarks sampling``.

One forward pass runs every token's network once, which no exact sampler can go below; guided, twice. Beside each time
stands its floor (:mod:`benchmarks.ceilings`): a walk reads all weights once a token, and parallel passes are one pass
at least. Before it is timed every way is compared with the walk in float64, on some images of the batch; its largest
error is printed, and one that gives other images is refused.

Weights are random and shared with the peers, unless ``--run`` names a trained TarFlow. Random ones tell nothing of how
fast Jacobi passes converge on a trained model. ``--dtype bf16`` is autocast, for us and for the peers.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import equal_error, peers, sizes
from benchmarks.arithmetic import a_pass, a_walk
from benchmarks.contest import ALLOWED, FORWARD, Batch, Way, contest, in_float64
from benchmarks.plots import Panel, bars_by
from benchmarks.subject import Record, Setting
from simflow.flow.decode import Sequential
from simflow.flow.guidance import LogScale
from simflow.flow.jacobi import Jacobi
from simflow.native.library import library

ABOUT: str = "time of a sample in forward passes, beside the peers"

ROUGH = Jacobi(tolerance=1e-3)
EAGER, GRAPHS = Sequential(compiled=False), Sequential(graphs=True)
"""The walk without compiled loops, which only a CPU has; and as CUDA graphs, which only a GPU has."""
RECORDED = 2
"""Batches after which a walk is replayed and nothing else: one that walks and one that records."""
PEER, GUIDED_PEER = "ml-tarflow", "ml-tarflow, guided"
RULE = LogScale(weight=1.0)
"""Guides log-scale and shift in all blocks, as the peer does."""


def add_arguments(parser: ArgumentParser) -> None:
    """Flows, batches, peers, and what to leave out."""
    sizes.add_arguments(parser)
    parser.add_argument("--peer-tarflow", type=Path, help="a checkout of apple/ml-tarflow")
    parser.add_argument("--peer-gsjacobi", type=Path, help="a checkout of encoreus/GS-Jacobi_for_TarFlow")
    parser.add_argument("--unguided", action="store_true", help="leave guided sampling out")
    parser.add_argument("--target", type=float, default=1e-2, help="the error at which GS-Jacobi is compared")


@torch.no_grad()
def measure(chosen: Namespace, setting: Setting) -> Iterator[Record]:
    """A record for each way to sample, flow after flow, batch after batch."""
    for case, flow in sizes.flows(chosen, setting):
        reference = in_float64(flow)
        peer = None if chosen.peer_tarflow is None else peers.tarflow(chosen.peer_tarflow, flow)
        for images in case.in_time(setting):
            batch = Batch(flow, images, name=case.name)
            ways = plain(batch, batch.exact(reference), peer, setting)
            if not chosen.unguided:
                ways |= guided(batch, batch.exact(reference, RULE), peer, setting)
            yield from contest(batch, ways, setting)
        if chosen.peer_gsjacobi is not None:
            other = peers.gs_jacobi(chosen.peer_gsjacobi, flow)
            for images in case.in_time(setting, of=", GS-Jacobi"):
                batch = Batch(flow, images, name=case.name, cut=equal_error.CUT)
                yield from equal_error.measure(batch, reference, other, setting, target=chosen.target)


def plain(batch: Batch, wanted: Tensor, peer: Any, setting: Setting) -> dict[str, Way]:
    """The forward pass, and the ways without guidance."""
    flow, z, labels = batch.flow, batch.z, batch.labels
    a_forward = a_pass(flow, batch.images, itemsize=setting.itemsize)
    walk = a_walk(flow, batch.images, itemsize=setting.itemsize)
    allowed = ALLOWED[setting.dtype]

    def sample(decoding: Sequential | Jacobi | None = None) -> Tensor:
        with setting.autocast():
            return flow.inverse(z, labels, None, decoding)

    def forward() -> Tensor:
        with setting.autocast():
            return flow(batch.x, labels)[0]

    def theirs() -> Tensor:
        with setting.autocast():
            return peer.reverse(z.clone(), labels)

    ways = {
        FORWARD: Way(forward, a_forward),
        "sequential": Way(sample, walk, wanted, allowed, PEER),
        f"Jacobi, tolerance {ROUGH.tolerance:g}": Way(
            lambda: sample(ROUGH), a_forward, wanted, max(10 * ROUGH.tolerance, allowed), PEER
        ),
    }
    if has_loops(setting):
        ways["sequential, torch's operations"] = Way(lambda: sample(EAGER), walk, wanted, allowed, PEER)
    if setting.device.type == "cuda":
        ways["sequential, CUDA graphs"] = Way(
            lambda: sample(GRAPHS), walk, wanted, allowed, PEER, prepared_by=RECORDED
        )
    return ways if peer is None else ways | {PEER: Way(theirs, walk, wanted, allowed)}


def guided(batch: Batch, wanted: Tensor, peer: Any, setting: Setting) -> dict[str, Way]:
    """The ways with guidance: twice the rows."""
    flow, z, labels = batch.flow, batch.z, batch.labels
    walk, allowed = a_walk(flow, 2 * batch.images, itemsize=setting.itemsize), ALLOWED[setting.dtype]

    def sample(decoding: Sequential | None = None) -> Tensor:
        with setting.autocast():
            return flow.inverse(z, labels, RULE, decoding)

    def theirs() -> Tensor:
        with setting.autocast():
            return peer.reverse(z.clone(), labels, guidance=RULE.weight)

    ways = {"sequential, guided": Way(sample, walk, wanted, allowed, GUIDED_PEER)}
    if has_loops(setting):
        ways["sequential, torch's operations, guided"] = Way(
            lambda: sample(EAGER), walk, wanted, allowed, GUIDED_PEER
        )
    if setting.device.type == "cuda":
        ways["sequential, CUDA graphs, guided"] = Way(
            lambda: sample(GRAPHS), walk, wanted, allowed, GUIDED_PEER, prepared_by=RECORDED
        )
    return ways if peer is None else ways | {GUIDED_PEER: Way(theirs, walk, wanted, allowed)}


def has_loops(setting: Setting) -> bool:
    """Whether the walk is compiled here; elsewhere both ways are one, and it is timed once."""
    return setting.device.type == "cpu" and library() is not None


def row(record: Record) -> dict[str, str]:
    """A record as it is printed."""
    seconds, error, faster = record["seconds"], record["error"], record["times as fast as the peer"]
    target = record["target error"]
    return {
        "flow": record["flow"],
        "images × tokens": f"{record['images']} × {record['tokens']}",
        "way": record["way"] + ("" if target is None else f" (to an error of {target:g})"),
        "ms": record["absent"] if seconds is None else f"{1e3 * seconds:.1f}",
        "forward passes": number(record["forward passes"]),
        "faster than the peer": "" if faster is None else f"{faster:.1f} ×",
        "largest error": "" if error is None else f"{error:.0e}",
        "floor, ms": f"{1e3 * record['floor seconds']:.1f}",
        "times the floor": number(record["times the floor"]),
        "GFLOP": f"{record['GFLOP']:.1f}",
        "GB": f"{record['GB']:.2f}",
    }


def number(value: float | None) -> str:
    """Two decimals, or nothing."""
    return "" if value is None else f"{value:.2f}"


def panels(records: Sequence[Record]) -> list[Panel]:
    """Milliseconds of each batch, with the ratio to its forward pass."""

    def title(each: Record) -> str:
        of = f"{each['flow']}: {each['images']} × {each['tokens']} tokens"
        return of if each["target error"] is None else f"{of}, to an error of {each['target error']:g}"

    def note(each: Record) -> str:
        passes = each["forward passes"]  # unknown where the forward pass itself found no memory
        return "" if passes is None else f"{passes:.1f} passes"

    return bars_by(records, title, note)
