"""What the machine can do, measured: products per second and bytes per second. Floors are computed from these.

A floor is the larger of two times: the arithmetic that must be done over the rate of a large matrix product, and the
bytes that must move over the bandwidth of a large copy, which writes as many as it reads. Both are medians of several
runs on random numbers (zeros run faster), in the precision of the benchmark, on this device, in this process. A large
problem takes no less; a small one may, where weights stay in a cache.
"""

import statistics
from collections.abc import Callable
from typing import NamedTuple

import torch

from benchmarks.measure import clock
from simflow.precision import NetworkDtype

SIDE = {"cuda": 8192, "cpu": 1024}
"""Rows and columns of the matrices."""
COPIED = {"cuda": 2**32, "cpu": 2**27}
"""Bytes that a copy reads; it writes as many."""


class Ceilings(NamedTuple):
    """Rates of one device in one precision."""

    flops: float
    """Floating-point operations per second of a large matrix product; a multiplication and an addition are two."""
    bandwidth: float
    """Bytes a second, read and written, of a large copy."""


class Work(NamedTuple):
    """What must be done at least."""

    flop: float
    """Floating-point operations."""
    bytes: float
    """Bytes read and written in the device's memory."""

    def seconds(self, ceilings: Ceilings) -> float:
        """The floor: neither takes less alone."""
        return max(self.flop / ceilings.flops, self.bytes / ceilings.bandwidth)


def ceilings(
    device: torch.device, dtype: NetworkDtype, *, side: int | None = None, copied: int | None = None
) -> Ceilings:
    """Both rates, in about a second; ``side`` and ``copied`` replace the sizes above."""
    side, copied = side or SIDE[device.type], copied or COPIED[device.type]
    kind = torch.bfloat16 if dtype == "bfloat16" else torch.float32
    a, b = (torch.randn(side, side, device=device).to(kind) for _ in range(2))
    c = torch.empty_like(a)
    source = torch.randint(256, (copied,), device=device, dtype=torch.uint8)
    target = torch.empty_like(source)
    return Ceilings(
        flops=2 * side**3 / median_seconds(lambda: torch.mm(a, b, out=c), device),
        bandwidth=2 * copied / median_seconds(lambda: target.copy_(source), device),
    )


def median_seconds(run: Callable[[], object], device: torch.device, *, runs: int = 7) -> float:
    """The median of several runs, each waited for, after one that warms up."""
    times = []
    for _ in range(runs + 1):
        begin = clock(device)
        run()
        times.append(clock(device) - begin)
    return statistics.median(times[1:])
