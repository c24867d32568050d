"""Doing the work of an iterator ahead of time, in one background thread."""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Wanted = TypeVar("Wanted")
Item = TypeVar("Item")


def prefetch(
    make: Callable[[Wanted], Item], wanted: Iterator[Wanted], *, depth: int
) -> Generator[Item, None, None]:
    """Yields ``make(each)`` for each that is ``wanted``, up to ``depth`` of them made in advance.

    ``make`` runs in the background, ``wanted`` is asked by the caller's thread. The thread starts with the first
    ``next`` and ends when the generator is closed, is forgotten or fails. What ``make`` raises is raised to the caller
    in its turn.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="simflow-prefetch") as thread:
        ahead: deque[Future[Item]] = deque(thread.submit(make, each) for each in islice(wanted, depth))
        try:
            while ahead:
                item = ahead.popleft().result()
                ahead.extend(thread.submit(make, each) for each in islice(wanted, 1))
                yield item
        finally:
            thread.shutdown(cancel_futures=True)
