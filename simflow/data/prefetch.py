"""Doing the work of an iterator ahead of time, in one background thread."""

from collections.abc import Callable, Generator
from itertools import count
from queue import Empty, Queue
from threading import Event, Thread
from typing import TypeVar

Item = TypeVar("Item")


def prefetch(make: Callable[[int], Item], *, start: int, depth: int) -> Generator[Item, None, None]:
    """Yields ``make(start), make(start + 1), ...`` without end, up to ``depth`` of them made in advance.

    The thread starts with the first ``next`` and ends when the generator is closed, is forgotten or fails.
    What ``make`` raises is raised to the caller in its turn.
    """
    queue: Queue[Item | _Failure] = Queue(maxsize=depth)
    stop = Event()
    thread = Thread(target=_produce, args=(make, start, queue, stop), name="simflow-prefetch", daemon=True)
    thread.start()
    try:
        while True:
            item = queue.get()
            if isinstance(item, _Failure):
                raise item.error
            yield item
    finally:
        stop.set()
        _drain(queue)
        thread.join()


class _Failure:
    """What ``make`` raised, on its way to the caller."""

    def __init__(self, error: Exception) -> None:
        self.error = error


def _produce(make: Callable[[int], Item], start: int, queue: "Queue[Item | _Failure]", stop: Event) -> None:
    try:
        for number in count(start):
            if stop.is_set():
                return
            queue.put(make(number))
    except Exception as error:
        queue.put(_Failure(error))


def _drain(queue: Queue) -> None:
    """Makes room for the one item that a stopping thread may still put, so that it never waits."""
    while True:
        try:
            queue.get_nowait()
        except Empty:
            return
