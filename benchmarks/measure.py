"""How things are timed: interleaved, by the median, with the machine beside the figures.

Other jobs and changing clocks hit whoever happens to run. So the contestants of a comparison take turns, one run each
a round, and a ratio is taken of runs of the same round; medians of both are what is reported.
"""

import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch


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


def interleaved(
    contestants: Mapping[str, Callable[[], object]], *, rounds: int, device: torch.device
) -> dict[str, Timing]:
    """One run of each to warm up, then ``rounds`` rounds in which each runs once."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
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
    return {"device": name, "threads": torch.get_num_threads(), "torch": torch.__version__}


def processor() -> str:
    """The name of the CPU."""
    facts = Path("/proc/cpuinfo")
    if facts.exists():
        for line in facts.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def table(rows: list[dict[str, str]]) -> str:
    """Rows with the same keys as a table in Markdown."""
    names = list(rows[0])
    lines = [names, ["---"] * len(names), *([row[name] for name in names] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
