"""GS-Jacobi beside our Jacobi decoding at equal error: how long each takes to come as near to the exact images.

Each family of settings (which blocks in windows, which token by token) is run with ever smaller bounds until its
largest error is at most the target, and the loosest such setting is timed, all families in turns. One that never comes
so near is printed with the error that it reached and no time.

The peer's code clips every guess to [-3, 3], which moves numbers that belong outside. So the noise is cut at 2 for all:
weights that leave [-3, 3] nevertheless show as an error that no bound mends. Its bound is on the whole batch's mean,
ours on each image's largest number, so equal bounds say nothing and errors are compared.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor

from benchmarks.arithmetic import a_pass
from benchmarks.contest import FORWARD, Batch, error_of, record
from benchmarks.measure import interleaved
from benchmarks.subject import Record, Setting
from simflow.flow.decode import SEQUENTIAL, Decoding, Plan
from simflow.flow.jacobi import Jacobi
from simflow.flow.stack import Flow

CUT = 2.0
"""Largest size of a number of the noise."""
BOUNDS = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 1e-6)
"""From loose to tight."""
WINDOWS = 8
"""Windows of a block that is cut, as in the published settings."""
WALK = "token by token"
"""Our exact way, which has no bound."""

Family = Callable[[float], Tensor]
"""A bound -> images."""


class Found(NamedTuple):
    """The loosest bound of a family that comes near enough, or the best that it reached."""

    bound: float
    error: float | None
    """None if nothing but NaN came."""
    reached: bool | None
    """None if the time was up before a smaller bound was tried."""


def measure(batch: Batch, reference: Flow, peer: Any, setting: Setting, *, target: float) -> list[Record]:
    """A record for the forward pass and for each family, ours first.

    Args:
        batch: noise cut at :data:`CUT`.
        reference: the flow in float64.
        peer: the model of GS-Jacobi_for_TarFlow with the same weights.
        setting: device, rounds, deadline.
        target: the largest error, relative to the largest number of the images.
    """
    wanted = batch.exact(reference)
    mine, other = ours(batch, setting), theirs(batch, peer, setting)
    families = mine | other
    found = {name: loosest(family, wanted, batch, setting, target) for name, family in families.items()}
    runs = {name: partial(families[name], each.bound) for name, each in found.items() if each.reached}
    times = interleaved(
        {FORWARD: lambda: forward(batch, setting)} | runs,
        rounds=setting.rounds,
        device=setting.device,
        deadline=setting.deadline,
    )
    fastest = min(
        (times[name] for name in other if name in times), key=lambda each: each.median, default=None
    )
    once = a_pass(batch.flow, batch.images, itemsize=setting.itemsize)
    described = partial(record, batch, floor=once, setting=setting, forward=times[FORWARD], target=target)
    records = [described(FORWARD, timing=times[FORWARD])]
    for name, (bound, error, reached) in found.items():
        timing = times.get(name)
        ahead = None if timing is None or fastest is None or name in other else fastest.ratio(timing)
        way = name if name == WALK else f"{name}, bound {bound:g}"
        absent = {True: None, False: "not reached", None: "no time left"}[reached]
        records.append(described(way, timing=timing, error=error, faster=ahead, absent=absent))
    return records


def loosest(
    family: Family,
    wanted: Tensor,
    batch: Batch,
    setting: Setting,
    target: float,
    bounds: Sequence[float] = BOUNDS,
) -> Found:
    """Walks down the bounds until the error is small enough, or there is no time."""
    nearest = Found(bounds[0], None, reached=False)
    for bound in bounds:
        error = error_of(family(bound), wanted, batch.rows)
        if error <= target:
            return Found(bound, error, reached=True)
        if not math.isnan(error) and (nearest.error is None or error < nearest.error):
            nearest = Found(bound, error, reached=False)
        if bound != bounds[-1] and setting.deadline.over:
            return nearest._replace(reached=None)
    return nearest


def windows_of(tokens: int) -> int:
    """Into how many windows of equal length, of two tokens at least, a block is cut: 8, or fewer where 8 do not go.

    >>> windows_of(256), windows_of(49), windows_of(4)
    (8, 7, 2)
    """
    return max(number for number in range(1, WINDOWS + 1) if tokens % number == 0 and tokens // number > 1)


def forward(batch: Batch, setting: Setting) -> Tensor:
    """The forward pass of the batch."""
    with setting.autocast():
        return batch.flow(batch.x, batch.labels)[0]


def ours(batch: Batch, setting: Setting) -> dict[str, Family]:
    """Our ways: passes over all tokens, the deep block in windows or token by token, and the exact walk."""
    shallow, tokens = len(batch.flow.blocks) - 1, batch.flow.noise_shape[0]
    window = tokens // windows_of(tokens)

    def sample(decoding: Decoding) -> Tensor:
        with setting.autocast():
            return batch.flow.inverse(batch.z, batch.labels, None, decoding)

    def in_windows(bound: float) -> Tensor:
        deep = Jacobi(tolerance=bound, window=window)
        return sample(Plan(blocks=(*[Jacobi(tolerance=bound)] * shallow, deep)))

    return {
        "Jacobi": lambda bound: sample(Jacobi(tolerance=bound)),
        f"Jacobi, deep block in windows of {window}": in_windows,
        "Jacobi, deep block token by token": lambda bound: sample(Jacobi(tolerance=bound, blocks="shallow")),
        WALK: lambda bound: sample(SEQUENTIAL),
    }


def theirs(batch: Batch, peer: Any, setting: Setting) -> dict[str, Family]:
    """The peer's ways: the same choices for the first block that is undone, which is our last."""
    blocks, tokens = len(batch.flow.blocks), batch.flow.noise_shape[0]
    windows = windows_of(tokens)

    def family(first: int) -> Family:
        """``first`` is the peer's number of windows; 0 is its loop over tokens."""

        def sample(bound: float) -> Tensor:
            with setting.autocast():
                return peer.reverse(
                    batch.z.clone(),
                    batch.labels,
                    num_GS_list=[first] + [1] * (blocks - 1),
                    max_jacobi_list=[tokens] * blocks,
                    guess_list=[0] * blocks,
                    ebound=bound,
                )

        return sample

    return {
        "GS-Jacobi": family(1),
        f"GS-Jacobi, first block in windows of {tokens // windows}": family(windows),
        "GS-Jacobi, first block token by token": family(0),
    }
