"""Showing what the library says: its logger on standard error, beside the progress bar and not through it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from simflow.distributed import is_main


class ConsoleHandler(logging.Handler):
    """Prints records on a rich console, above its bar if it has one."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.INFO)
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Prints one record as it is, without markup."""
        prefix = "warning: " if record.levelno >= logging.WARNING else ""
        self.console.print(f"{prefix}{record.getMessage()}", markup=False, highlight=False, soft_wrap=True)


@contextmanager
def talking() -> Iterator[Console]:
    """Shows what the logger ``simflow`` says (from INFO up) while the block lasts; rank 0 only."""
    console = Console(stderr=True)
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
