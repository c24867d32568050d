"""What every subject of the benchmarks is given, and what it gives."""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from benchmarks.ceilings import Ceilings
from benchmarks.measure import Deadline
from benchmarks.plots import Panel
from simflow.precision import NetworkDtype, computing_in

Record = dict[str, Any]
"""All that is known of one figure, JSON-able; people read the keys."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Where, in what precision, how often and how long."""

    device: torch.device
    dtype: NetworkDtype = "float32"
    rounds: int = 5
    ceilings: Ceilings
    """What the device was measured to do, in this precision."""
    deadline: Deadline = field(default_factory=Deadline)

    def autocast(self) -> AbstractContextManager:
        """A fresh context for one run: weights are cast once in it."""
        return computing_in(self.dtype, self.device)

    @property
    def itemsize(self) -> int:
        """Bytes of a number in the products."""
        return 2 if self.dtype == "bfloat16" else 4

    def forget(self) -> None:
        """Gives memory that nobody uses back to the device, after something that did not fit or before much."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


class Subject(Protocol):
    """What a subject's module holds."""

    ABOUT: str
    """One line for ``--help``."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Adds the flags that it has beside those of all."""

    def measure(self, chosen: Namespace, setting: Setting) -> Iterator[Record]:
        """Records as they come; what the deadline leaves out is told to it."""
        ...

    def row(self, record: Record) -> dict[str, str]:
        """A record as a row of the printed table."""
        ...

    def panels(self, records: Sequence[Record]) -> list[Panel]:
        """What is drawn of them."""
        ...
