"""How cost grows with tokens, depth and batch, one axis at a time: ``python -m benchmarks growth``.

From a base size one number is changed; at each value a forward pass and an exact sample are timed, all in turns. On
logarithmic axes a power law is a straight line, and its exponent the slope: fitted by least squares, and printed with
each time. Arithmetic alone would give 1 for depth and batch and a little more for tokens, where attention is quadratic.
Where the time is not arithmetic but launching many small operations, a sample grows with tokens times depth and hardly
with the batch.
"""

import math
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby

import torch
from torch import Tensor

from benchmarks.contest import FORWARD, Batch
from benchmarks.measure import interleaved
from benchmarks.plots import Lines, Panel, Points
from benchmarks.sizes import Size
from benchmarks.subject import Record, Setting

ABOUT: str = "how cost grows with tokens, depth and batch"

SAMPLE = "sequential"


def add_arguments(parser: ArgumentParser) -> None:
    """The values on each axis, and the size that they start from."""
    parser.add_argument(
        "--grids", type=int, nargs="+", default=[4, 8, 16], help="sides of the grid of tokens"
    )
    parser.add_argument("--layers", type=int, nargs="+", default=[1, 2, 4, 8], help="layers of each block")
    parser.add_argument("--images", type=int, nargs="+", default=[1, 4, 16, 64], help="images of a batch")
    parser.add_argument(
        "--base",
        type=int,
        nargs=5,
        default=[4, 8, 2, 2, 128],
        metavar=("B", "GRID", "K", "L", "W"),
        help="what stays where another axis moves: images, side of the grid, blocks, layers of each, width",
    )


@torch.no_grad()
def measure(chosen: Namespace, setting: Setting) -> Iterator[Record]:
    """Two records for each value of each axis."""
    images, grid, blocks, layers, width = chosen.base
    base = Size(images=images, grid=grid, depths=(layers,) * blocks, width=width, heads=max(width // 64, 1))
    axes = {
        "tokens": {side**2: replace(base, grid=side) for side in chosen.grids},
        "layers": {number * blocks: replace(base, depths=(number,) * blocks) for number in chosen.layers},
        "images": {number: replace(base, images=number) for number in chosen.images},
    }
    for axis, sizes in axes.items():
        if not setting.deadline.forgoes(f"growth with {axis}"):
            yield from along(axis, sizes, setting)


def along(axis: str, sizes: dict[int, Size], setting: Setting) -> list[Record]:
    """The records of one axis, and the exponents of its two lines."""
    runs: dict[tuple[str, int], Callable[[], Tensor]] = {}
    for value, size in sizes.items():
        batch = Batch(size.build(setting.device), size.images, name=size.name)
        runs[FORWARD, value] = forward_of(batch, setting)
        runs[SAMPLE, value] = sample_of(batch, setting)
    named = {f"{way}/{value}": run for (way, value), run in runs.items()}
    times = interleaved(named, rounds=setting.rounds, device=setting.device, deadline=setting.deadline)
    medians = {key: times[f"{key[0]}/{key[1]}"] for key in runs}
    slopes = {
        way: exponent(list(sizes), [medians[way, value].median for value in sizes])
        for way in (FORWARD, SAMPLE)
    }
    return [
        {
            "axis": axis,
            "value": value,
            "images": sizes[value].images,
            "tokens": sizes[value].tokens,
            "layers": sum(sizes[value].depths),
            "width": sizes[value].width,
            "way": way,
            "seconds": medians[way, value].median,
            "rounds": medians[way, value].rounds,
            "forward passes": medians[way, value].ratio(medians[FORWARD, value]),
            "exponent": slopes[way],
        }
        for way in (FORWARD, SAMPLE)
        for value in sizes
    ]


def forward_of(batch: Batch, setting: Setting) -> Callable[[], Tensor]:
    """A forward pass of the batch, to be timed."""

    def run() -> Tensor:
        with setting.autocast():
            return batch.flow(batch.x, batch.labels)[0]

    return run


def sample_of(batch: Batch, setting: Setting) -> Callable[[], Tensor]:
    """An exact sample of the batch, to be timed."""

    def run() -> Tensor:
        with setting.autocast():
            return batch.flow.inverse(batch.z, batch.labels)

    return run


def exponent(xs: Sequence[float], ys: Sequence[float]) -> float | None:
    """The slope of ``log y`` over ``log x`` by least squares; None for fewer than two different values.

    >>> exponent([1, 2, 4], [3.0, 12.0, 48.0])
    2.0
    """
    if len(set(xs)) < 2:
        return None
    a, b = [math.log(x) for x in xs], [math.log(y) for y in ys]
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    rise = sum((u - mean_a) * (v - mean_b) for u, v in zip(a, b, strict=True))
    return rise / sum((u - mean_a) ** 2 for u in a)


def row(record: Record) -> dict[str, str]:
    """A record as it is printed."""
    return {
        "axis": record["axis"],
        "images × tokens × layers": f"{record['images']} × {record['tokens']} × {record['layers']}",
        "way": record["way"],
        "ms": f"{1e3 * record['seconds']:.1f}",
        "forward passes": f"{record['forward passes']:.2f}",
        "exponent": "" if record["exponent"] is None else f"{record['exponent']:.2f}",
    }


def panels(records: Sequence[Record]) -> list[Panel]:
    """A panel for each axis, with a line for the forward pass and one for the sample."""
    found: list[Panel] = []
    for axis, of_axis in groupby(records, key=lambda each: each["axis"]):
        curves = []
        for way, points in groupby(of_axis, key=lambda each: each["way"]):
            each = list(points)
            slope = each[0]["exponent"]
            label = way if slope is None else f"{way}: exponent {slope:.2f}"
            curves.append(Points(label, [p["value"] for p in each], [1e3 * p["seconds"] for p in each]))
        found.append(Lines(f"time over {axis}", axis, "ms", curves))
    return found
