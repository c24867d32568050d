"""Seconds of an act on a device, and what to call the device.

Whoever measures takes a :class:`Clock` as an argument, so that a test can bring one that knows its times beforehand.
"""

import platform
import re
import time
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch

from simflow.flow.decode import Decoding

LONG = 10.0
"""Seconds after which an act is not repeated."""


@runtime_checkable
class Clock(Protocol):
    """How long an act takes, in seconds; ``way`` is what it is about: of one block, or a plan for the whole."""

    def __call__(self, way: Decoding, act: Callable[[], object]) -> float: ...


class Stopwatch:
    """A clock: the shortest of three runs after one to warm up, as other jobs only lengthen; a long act is run once."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def __call__(self, way: Decoding, act: Callable[[], object]) -> float:
        """Seconds of an act, the work on the device included."""
        first = self.once(act)
        return first if first > LONG else min(self.once(act) for _ in range(3))

    def once(self, act: Callable[[], object]) -> float:
        """Seconds of one run."""
        self.wait()
        began = time.perf_counter()
        act()
        self.wait()
        return time.perf_counter() - began

    def wait(self) -> None:
        """Until the device has done what it was given."""
        if self.device.type != "cpu":
            torch.accelerator.synchronize(self.device)


def kind_of(device: torch.device) -> str:
    """The kind of a device as a word for a file's name: "cpu", "mps", or the GPU's own name ("nvidia-h200").

    >>> kind_of(torch.device("cpu"))
    'cpu'
    """
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def machine() -> str:
    """Processor, operating system and threads of this process."""
    processor = platform.processor() or platform.machine()
    return f"{processor}, {platform.system()}, {torch.get_num_threads()} threads"
