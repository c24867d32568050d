"""How far a run is: a bar on a terminal, plain lines elsewhere.

Both show stage and step, every term of the loss, speed, time left, and how far the prior's loss is above its
floor (see :class:`simflow.train.callbacks.CollapseMonitor`). Lines go through the logger ``simflow``, so they
are in the run's log as well.
"""

import logging
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from rich import progress
from rich.console import Console
from rich.table import Column

from simflow.distributed import is_main
from simflow.objective import comparable
from simflow.train.callbacks import Callback
from simflow.train.metrics import StepMetrics
from simflow.train.optim import StageConfig, stage_at, total_steps

logger = logging.getLogger("simflow")


class Progress(Callback):
    """Shows the run on rank 0: a bar if the console is a terminal, else a line every ``every`` seconds.

    Args:
        stages: the run's stages, for its length.
        floor: the least possible value of the prior's loss, or None.
        term: the name of the prior's loss.
        console: where the bar is drawn; standard error unless told otherwise.
        every: seconds of training between plain lines; the first and the last step always give one, and so does one
            with losses on held-out images.
    """

    def __init__(
        self,
        stages: Sequence[StageConfig],
        *,
        floor: float | None = None,
        term: str = "prior",
        console: Console | None = None,
        every: float = 10.0,
    ) -> None:
        self.stages, self.floor, self.term, self.every = stages, floor, term, every
        self.spoke_at: float | None = None
        console = console or Console(stderr=True)
        self.bar = _bar(console) if console.is_terminal and is_main() else None
        self.task = self.bar.add_task("", total=total_steps(stages), text="") if self.bar else None

    def on_step(self, metrics: StepMetrics) -> None:
        """Moves the bar, or says a line if it is time."""
        place, numbers = where(metrics, self.stages), summary(metrics, self.stages, self.floor, self.term)
        if self.bar is not None and self.task is not None:
            self.bar.start()
            self.bar.update(self.task, description=place, completed=metrics.step, text=numbers)
            return
        last = metrics.step >= total_steps(self.stages)
        late = self.spoke_at is None or metrics.seconds - self.spoke_at >= self.every
        if is_main() and (last or late or metrics.held_out):
            self.spoke_at = metrics.seconds
            logger.info("%s, step %d/%d: %s", place, metrics.step, total_steps(self.stages), numbers)

    def on_checkpoint(self, path: Path) -> None:
        """Says where the checkpoint is."""
        if is_main():
            logger.info("saved %s", path)

    def on_end(self) -> None:
        """Lets the terminal go."""
        if self.bar is not None:
            self.bar.stop()


def where(metrics: StepMetrics, stages: Sequence[StageConfig]) -> str:
    """``stage 1/2``: the stage that the last step belonged to."""
    return f"stage {stage_at(stages, metrics.step - 1)[0] + 1}/{len(stages)}"


def summary(metrics: StepMetrics, stages: Sequence[StageConfig], floor: float | None, term: str) -> str:
    """Losses, speed and time left in one line."""
    parts = []
    held_out = comparable(metrics.losses, metrics.held_out)
    for name, value in metrics.losses.items():
        above = f" ({value - floor:.3f} above its floor)" if floor is not None and name == term else ""
        beside = f" (held out {held_out[name]:.4f})" if name in held_out else ""
        parts.append(f"{name} {value:.4f}{beside}{above}")
    images_left = (total_steps(stages) - metrics.step) * metrics.images / metrics.step
    left = timedelta(seconds=round(images_left / metrics.images_per_second))
    parts += [f"lr {metrics.lr:.2g}", f"gradient {metrics.grad_norm:.3g}"]
    if metrics.skipped:
        parts.append(f"{metrics.skipped} steps skipped")
    return ", ".join([*parts, f"{metrics.images_per_second:.4g} images/s", f"{left} left"])


def _bar(console: Console) -> progress.Progress:
    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(bar_width=12),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[text]}", table_column=Column(ratio=1)),
    )
    return progress.Progress(*columns, console=console, expand=True)
