"""Who listens to a training run: the contract, the metrics file, the collapse monitor and the stop request.

The loop reads losses back from the device every few steps and hands them to its callbacks as floats, on
every rank. A callback that writes or talks does so on rank 0 only; one that computes together (sampling,
evaluation) runs everywhere. What is shown on a terminal is in :mod:`simflow.train.progress`, experiment
trackers in :mod:`simflow.train.trackers`.
"""

import json
import logging
import math
import os
import signal
import threading
from contextlib import suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Protocol, runtime_checkable

from simflow.distributed import gather_objects, is_main
from simflow.train.metrics import StepMetrics, flat

logger = logging.getLogger("simflow")

COLLAPSE = "(collapse)"
"""In every warning of one."""

STDERR = 2
"""The file descriptor."""


@runtime_checkable
class Callback(Protocol):
    """To write one: a class with these three methods; or a subclass with those that do something."""

    def on_step(self, metrics: StepMetrics) -> None:
        """Called every ``log_every`` steps and after the last."""

    def on_checkpoint(self, path: Path) -> None:
        """Called when a checkpoint stands complete at ``path``."""

    def on_end(self) -> None:
        """Called once when the run is over, finished or stopped."""


class MetricsFile(Callback):
    """Appends one JSON object per line; a line is on its way to the disk before the next step.

    Keys: those of :func:`~simflow.train.metrics.flat`. Numbers that JSON lacks (infinite, not a number) are written
    as null.
    """

    def __init__(self, path: Path) -> None:
        self.file = path.open("a", encoding="utf-8", buffering=1) if is_main() else None

    def on_step(self, metrics: StepMetrics) -> None:
        """Writes one line."""
        if self.file is not None:
            numbers = {name: value if math.isfinite(value) else None for name, value in flat(metrics).items()}
            self.file.write(json.dumps(numbers) + "\n")

    def on_end(self) -> None:
        """Closes the file."""
        if self.file is not None:
            self.file.close()


class CollapseMonitor(Callback):
    """Warns when the prior's loss comes close to its floor: the latents then carry nothing of the images.

    With ``x = mu + std * noise`` no prior can reach a mean loss below ``log(std) + 0.5`` nats per dimension
    (without the constant ``log(2 pi) / 2``), the entropy of the noise; only latents without information get
    there. Without noise nothing bounds it, and a loss that no honest latents reach says the same. The loss is
    smoothed over calls. The warning is given once, and again only after a recovery to twice the margin.

    Args:
        floor: the least possible value of the term; None where there is none.
        margin: how near is too near, in nats per dimension.
        bottom: where there is no floor, a value below which the latents must have collapsed; None for no watch.
        smoothing: share of the old mean kept at each call, in [0, 1).
    """

    def __init__(
        self,
        floor: float | None,
        *,
        margin: float = 0.05,
        bottom: float | None = None,
        smoothing: float = 0.9,
    ) -> None:
        self.floor, self.margin, self.bottom = floor, margin, bottom
        self.smoothing = smoothing
        self.mean: float | None = None
        self.warned = False

    def on_step(self, metrics: StepMetrics) -> None:
        """Follows the loss and warns through the logger ``simflow``."""
        loss, limit = metrics.losses["prior"], self.limit
        if limit is None or not math.isfinite(loss):
            return
        self.mean = loss if self.mean is None else self.smoothing * self.mean + (1 - self.smoothing) * loss
        if self.mean < limit and not self.warned:
            self.warned = True
            if is_main():
                sentence = f"the prior loss {self.mean:.3f} is {self.trouble}"
                logger.warning("step %d: %s", metrics.step, sentence)
        elif self.mean > limit + self.margin:
            self.warned = False

    @property
    def limit(self) -> float | None:
        """The value below which latents say nothing of their images."""
        return self.bottom if self.floor is None else self.floor + self.margin

    @property
    def trouble(self) -> str:
        """What is wrong there, and what helps."""
        if self.floor is None:
            return (
                f"below {self.bottom:g} and nothing bounds it, where latents of all images come to lie in one place "
                f"{COLLAPSE}: give the posterior some noise"
            )
        return (
            f"within {self.margin:g} of its floor {self.floor:.3f}, where latents say nothing of their images "
            f"{COLLAPSE}: give the reconstruction more weight"
        )


class Stopper:
    """Turns the first Ctrl-C or SIGTERM into a request, ``stopped``; the second stops at once.

    ``with Stopper() as stopper:`` installs the handlers; the old ones are back at its end. Only the main thread hears
    signals, so in another one nothing is installed.
    """

    def __init__(self) -> None:
        self.stopped = False
        self._before: dict[signal.Signals, signal._HANDLER] = {}

    def __enter__(self) -> "Stopper":
        heard = threading.current_thread() is threading.main_thread()
        for number in (signal.SIGINT, signal.SIGTERM) if heard else ():
            self._before[number] = signal.signal(number, self._request)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: not one of Python's

    def agreed(self, *, wanted: bool) -> bool:
        """Whether any rank was asked to stop or wants to; collective, so all ranks must ask at the same step."""
        return any(gather_objects(self.stopped or wanted))

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self.stopped:
            raise KeyboardInterrupt
        self.stopped = True
        # The signal may come in the midst of a message or of an import: only the bare call is safe here.
        with suppress(OSError):  # of Ctrl-C the program that reads it, such as tee, has heard too
            os.write(STDERR, b"stopping: the run is saved first; press Ctrl-C again to stop at once\n")
