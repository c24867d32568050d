"""The processor of this machine: its name, and the instructions that it says it has."""

import platform
import subprocess
from contextlib import suppress
from pathlib import Path


def processor() -> bytes:
    """What decides which instructions may be used: lines of the system on it."""
    try:
        lines = Path("/proc/cpuinfo").read_bytes().splitlines()
    except OSError:
        lines = [b"model name: " + (brand() or platform.processor()).encode()]
    known = (b"model name", b"flags", b"Features", b"CPU part")
    return (
        b"\n".join(sorted({line for line in lines if line.startswith(known)})) + platform.machine().encode()
    )


def brand() -> str:
    """The processor's name on macOS, where :mod:`platform` knows no more than its family; empty elsewhere."""
    if platform.system() != "Darwin":
        return ""
    with suppress(OSError, subprocess.SubprocessError):
        asked = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(asked, capture_output=True, text=True, timeout=10).stdout.strip()
    return ""


def multiplies_bfloat16(lines: bytes) -> bool:
    """Whether training in bfloat16 is faster on the processor of which :func:`processor` says these lines: it has AMX,
    or is one of AMD's with AVX512-BF16. Intel's that have the latter and no AMX gain nothing.

    >>> multiplies_bfloat16(b"flags: avx512f amx_bf16"), multiplies_bfloat16(b"flags: avx2")
    (True, False)
    """
    return b"amx_bf16" in lines or (b"AMD" in lines and b"avx512_bf16" in lines)
