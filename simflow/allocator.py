"""Memory that a step has freed, kept for the next step instead of given back to the system.

On a CPU every tensor is a piece of memory from the C library. GNU's gives large pieces back as soon as they are free,
and the next step gets new ones, page by page, each of which the system fills with zeros at first touch. A training
step makes and frees hundreds of megabytes, so that can cost a seventh of its time (docs/performance.md). Kept, the same
memory serves step after step; what a process holds is then the most that it ever held, as on a GPU.
"""

import ctypes

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's ``mallopt``: how much may lie free, and from which size a piece is the system's own."""
MOST_FREE, LARGEST = 2**31 - 1, 2**25
"""The greatest values that it takes; pieces of more than 32 MiB still come from the system and go back to it."""


def keep_freed_memory() -> bool:
    """Asks the C library of this process to keep what is freed; whether it knows how (GNU's does)."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # another C library; Windows
        return False
    return bool(mallopt(TRIM_THRESHOLD, MOST_FREE)) and bool(mallopt(MMAP_THRESHOLD, LARGEST))
