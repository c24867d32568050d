"""Freed memory stays with the process, where the C library is GNU's."""

import os
import platform
import subprocess
import sys

import pytest

from simflow.allocator import keep_freed_memory

FAULTS = """
import resource, sys
import torch
from simflow.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def act():
    pieces = [torch.ones(2**21) for _ in range(16)]  # 128 MiB, given back between acts or not
    while pieces:
        pieces.pop()  # the last first, as a backward pass does
for _ in range(3):
    act()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    act()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    """Page faults of work that frees and takes the same memory again and again, in a process of its own.

    Left alone, the library learns from what it sees freed; told a threshold at the start, it always gives back.
    """
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(2**20)}
    words = [sys.executable, "-c", FAULTS, how]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="GNU's C library is the one that is told")
def test_what_was_freed_serves_again():
    """Counts, no times: 32 768 pages come anew in each of five acts, or none at all."""
    assert faults("give back") > 100_000
    assert faults("keep") < 100


def test_it_says_whether_the_c_library_knows_how():
    assert keep_freed_memory() == (platform.libc_ver()[0] == "glibc")
