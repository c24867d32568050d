"""How far a long count is: a bar on a terminal, a plain line at the end elsewhere; rank 0 only."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich import progress
from rich.console import Console

from simflow.distributed import is_main, world


@contextmanager
def counting(console: Console, what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Lends a function to be called with the number of images done since its last call, on this process.

    Args:
        console: where to draw, standard error.
        what: is done, such as "sampling".
        total: images of all processes; rank 0 counts its own and shows them times the number of processes.
    """
    if not is_main():
        yield lambda done: None
        return
    began = time.monotonic()
    if console.is_terminal:
        columns = (*progress.Progress.get_default_columns()[:2], progress.MofNCompleteColumn())
        with progress.Progress(
            *columns, progress.TimeRemainingColumn(), console=console, transient=True
        ) as bar:
            task = bar.add_task(what, total=total)
            yield lambda done: bar.update(task, advance=done * world())
    else:
        yield lambda done: None
    console.print(
        f"{what}: {total} images, {time.monotonic() - began:.0f} s", highlight=False, soft_wrap=True
    )
