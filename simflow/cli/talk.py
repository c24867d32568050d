"""Showing what the library says and does: its logger above the progress bar, and a bar while images are read."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from rich import progress
from rich.console import Console

from simflow.data.config import DataConfig
from simflow.data.images import ImageSet, load
from simflow.distributed import is_main


class Standing(Console):
    """A console on standard error that falls silent when nobody reads it any more: rich would end the program, in the
    midst of a training."""

    def __init__(self) -> None:
        super().__init__(stderr=True)

    def on_broken_pipe(self) -> None:
        """Says nothing from here on."""
        self.quiet = True


class ConsoleHandler(logging.Handler):
    """Prints records on a rich console, above its bar if it has one."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.INFO)
        self.console = console
        self.warned: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Prints one record as it is, without markup; of image sets, which are listed again for each of their parts, a
        warning only once."""
        if record.levelno >= logging.WARNING and record.name.startswith("simflow.data."):
            if record.getMessage() in self.warned:
                return
            self.warned.add(record.getMessage())
        prefix = "warning: " if record.levelno >= logging.WARNING else ""
        self.console.print(f"{prefix}{record.getMessage()}", markup=False, highlight=False, soft_wrap=True)


@contextmanager
def talking() -> Iterator[Console]:
    """Shows what the logger ``simflow`` says (from INFO up) while the block lasts; rank 0 only."""
    console = Standing()
    if not is_main():
        yield console
        return
    logger, handler = logging.getLogger("simflow"), ConsoleHandler(console)
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield console
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def load_showing(config: DataConfig, console: Console) -> ImageSet:
    """Loads an image set with a bar that vanishes when it is full; without one where there is no terminal.

    Raises:
        ValueError: as :func:`simflow.data.images.load`.
    """
    if not (console.is_terminal and is_main()):
        return load(config)
    with progress.Progress(console=console, transient=True) as bar:
        task = bar.add_task("reading images")
        return load(config, on_progress=lambda done, total: bar.update(task, completed=done, total=total))
