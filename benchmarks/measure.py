"""How things are timed: interleaved, by the median, with the machine beside the figures.

Other jobs and changing clocks hit whoever happens to run. So the contestants of a comparison take turns, one run each
a round, and a ratio is taken of runs of the same round; medians of both are what is reported.
"""

import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import torch

from simflow.origin import git_revision


class Timing(NamedTuple):
    """Seconds of every round."""

    rounds: list[float]

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.rounds)

    def ratio(self, other: "Timing") -> float:
        """How many times as long as the other: the median over rounds."""
        return statistics.median(a / b for a, b in zip(self.rounds, other.rounds, strict=True))


class Deadline:
    """How much time is left, and what was left out for lack of it."""

    def __init__(self, seconds: float | None = None, *, now: Callable[[], float] = time.monotonic) -> None:
        self.now = now
        self.end = float("inf") if seconds is None else now() + seconds
        self.left_out: list[str] = []

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        return self.now() >= self.end

    def forgoes(self, what: str) -> bool:
        """Whether there is no time for ``what``, which is noted then."""
        if not self.over:
            return False
        self.left_out.append(what)
        return True


def interleaved(
    contestants: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    device: torch.device,
    warm_up: bool = True,
    deadline: Deadline | None = None,
) -> dict[str, Timing]:
    """One run of each to warm up, unless they ran before, then ``rounds`` rounds in which each runs once.

    After the first round no other one begins when the deadline is over.
    """
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(0 if warm_up else 1, rounds + 1):
        if number > 1 and deadline is not None and deadline.over:
            break
        for name, run in contestants.items():
            begin = clock(device)
            run()
            if number:
                times[name].append(clock(device) - begin)
    return {name: Timing(seconds) for name, seconds in times.items()}


def clock(device: torch.device) -> float:
    """Seconds, when the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def machine(device: torch.device) -> dict[str, str | int]:
    """What a figure must not be read without."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    return {
        "device": name,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "date": datetime.now(UTC).date().isoformat(),
        "revision": git_revision() or "unknown",
    }


def processor() -> str:
    """The name of the CPU."""
    facts = Path("/proc/cpuinfo")
    if facts.exists():
        for line in facts.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def table(rows: Sequence[Mapping[str, str]]) -> str:
    """Rows as a table in Markdown; in a column that a row lacks it says nothing."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [names, ["---"] * len(names), *([row.get(name, "") for name in names] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
