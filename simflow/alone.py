"""One at a time: a folder that only one process, or those of one torchrun together, may write at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from simflow.distributed import gather_objects, is_main

LOCK = ".lock"
"""The file in such a folder that is held meanwhile; it stays, for who removed it could remove another's."""


@contextmanager
def alone_in(folder: Path, complaint: str) -> Iterator[None]:
    """Keeps other processes out of a folder, which is made if need be, for the block; collective.

    Raises:
        ValueError: another process is at work there, in the words of ``complaint``.
    """
    lock = FileLock(folder / LOCK)
    taken = is_main()
    if taken:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            taken = None
    if None in gather_objects(taken):
        raise ValueError(complaint)
    try:
        yield
    finally:
        lock.release()
