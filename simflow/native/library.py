"""``step.c`` as a library: compiled once on a machine by its own compiler, kept, and loaded.

The first walk on a CPU takes a second longer, for the compiler. The result lies in the user's cache folder
(``$XDG_CACHE_HOME/simflow``, else ``~/.cache/simflow``) under a name made of the source, the flags and the processor,
so that machines that share a home folder do not share it. Where there is neither GCC nor Clang, or the cache cannot be
written, :func:`library` is None, that is logged, and whoever asked goes on with torch.

Threads are those of torch: its OpenMP has been loaded with it, and ``step.c`` is lent the team that runs torch's own
operations. A second team would fight with the first for the cores. Where torch's OpenMP has not the entries of GCC's
(which LLVM's and Intel's have too), the library runs on one thread.
"""

import ctypes
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch

from simflow.files import cache_folder
from simflow.processor import processor

log = logging.getLogger(__name__)
COMPILERS = ("gcc", "cc", "clang")
"""Looked for in turn, where ``$CC`` names none."""
FLAGS = (
    ("-march=native", "-O2", "-std=gnu11", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared"),
    ("-O2", "-std=gnu11", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared"),
)
"""Tried in turn: some compilers know of no "native"."""
Pointer, Number = ctypes.c_void_p, ctypes.c_int64


class Dense(ctypes.Structure):
    """``Dense`` of step.c: a packed weight and a bias."""

    _fields_ = (
        ("weight", Pointer),
        ("bias", Pointer),
        ("in_", Number),
        ("out", Number),
        ("bias_step", Number),
    )


class Norm(ctypes.Structure):
    """``Norm`` of step.c; all zeros is no norm."""

    _fields_ = (("gain", Pointer), ("shift", Pointer), ("step", Number), ("eps", ctypes.c_double))


class Layer(ctypes.Structure):
    """``Layer`` of step.c."""

    _fields_ = (
        ("norm_attention", Norm),
        ("norm_mlp", Norm),
        ("qkv", Dense),
        ("proj", Dense),
        ("up", Dense),
        ("down", Dense),
        ("gate_attention", Pointer),
        ("gate_mlp", Pointer),
    )


class Net(ctypes.Structure):
    """``Net`` of step.c: sizes, weights, and the memory of a walk."""

    _fields_ = (
        *((name, Number) for name in ("rows", "width", "heads", "inside", "tokens", "layers")),
        ("layer", ctypes.POINTER(Layer)),
        ("embed", Dense),
        ("head", Dense),
        ("positions", Pointer),
        ("final", Norm),
        ("scale", Pointer),
        ("cos", Pointer),
        ("sin", Pointer),
        ("prefix", Number),
        *((name, Pointer) for name in ("keys", "values", "x", "qkv", "normed", "part", "hidden", "scratch")),
        ("half", Number),
    )


class Lender(ctypes.Structure):
    """``Lender`` of step.c: who runs a function on several threads, and what each of them asks."""

    _fields_ = (("parallel", Pointer), ("thread", Pointer), ("threads", Pointer))


@runtime_checkable
class Loops(Protocol):
    """What a step needs of the library; :mod:`simflow.memory` has one that computes nothing."""

    lanes: int
    """Numbers in a vector of the processor."""

    @property
    def threads(self) -> int:
        """How many threads there are at present."""
        ...

    def address(self, tensor: torch.Tensor) -> int:
        """Where a tensor's numbers lie."""
        ...

    def expect(self, tensor: torch.Tensor) -> None:
        """Says that all of a new tensor is about to be written."""

    def packed_size(self, out: int, inputs: int, *, half: bool) -> int:
        """Numbers of four bytes that a packed weight takes; ``half`` as for :meth:`pack`."""
        ...

    def inputs_size(self, rows: int, numbers: int, *, half: bool) -> int:
        """Numbers of four bytes that the inputs of a product take, ``numbers`` a row; zeros at first."""
        ...

    def pack(self, weight: torch.Tensor, to: torch.Tensor, *, half: bool) -> None:
        """Writes a weight ``(out, in)`` in float32 in the order in which a step reads it: ``(panels, in, lanes)``,
        zeros where the last panel has no output. In ``half`` precision as pairs of bfloat16, ``(panels, pairs of
        inputs, lanes, 2)``, zeros where the last of 32 inputs are none."""

    def step(
        self, net: Net, token: torch.Tensor | None, position: int, out: torch.Tensor | None, *, threads: int
    ) -> None:
        """One step: ``token`` ``(rows, channels)`` at ``position`` -> ``out`` ``(rows, outputs)``.

        Without a token ``net.x`` holds what would be made of it; without ``out`` the outputs are of no use.
        ``net.scratch`` has room for so many threads.
        """


class Library:
    """The functions of ``step.c``."""

    def __init__(self, path: Path) -> None:
        functions = ctypes.CDLL(str(path))
        functions.simflow_alone.restype = Lender
        functions.simflow_lanes.restype = Number
        self._pack, self._step, self._expect = (
            functions.simflow_pack,
            functions.simflow_step,
            functions.simflow_expect,
        )
        self._packed, self._inputs = functions.simflow_packed, functions.simflow_inputs
        for size in (self._packed, self._inputs, functions.simflow_rounds):
            size.restype = Number
        self._packed.argtypes = self._inputs.argtypes = (Number, Number, Number)
        self._expect.argtypes, self._expect.restype = (Pointer, Number), None
        self._pack.argtypes = (Pointer, Pointer, Number, Number, Number, Pointer, Number)
        self._step.argtypes = (Pointer, Pointer, Number, Pointer, Number, Pointer)
        self._pack.restype = self._step.restype = None
        self.lanes: int = functions.simflow_lanes()
        self.rounds = bool(functions.simflow_rounds())
        """Whether the processor multiplies bfloat16 (AVX512-BF16, AMX): inputs of products are rounded then, too."""
        self.lender: Lender = torch_threads() or functions.simflow_alone()
        self._lender = ctypes.addressof(self.lender)

    @property
    def threads(self) -> int:
        """As many as torch's operations run on."""
        return torch.get_num_threads() if self.lender.parallel else 1

    def address(self, tensor: torch.Tensor) -> int:
        """As :class:`Loops` says."""
        return tensor.data_ptr()

    def expect(self, tensor: torch.Tensor) -> None:
        """As :class:`Loops` says: few large pages come faster than many small ones."""
        self._expect(tensor.data_ptr(), tensor.nbytes)

    def packed_size(self, out: int, inputs: int, *, half: bool) -> int:
        """As :class:`Loops` says."""
        return self._packed(out, inputs, half)

    def inputs_size(self, rows: int, numbers: int, *, half: bool) -> int:
        """As :class:`Loops` says."""
        return self._inputs(rows, numbers, half)

    def pack(self, weight: torch.Tensor, to: torch.Tensor, *, half: bool) -> None:
        """As :class:`Loops` says."""
        out, numbers = weight.shape
        weight = weight.contiguous()  # has a name, so that a copy lives as long as C reads it
        self._pack(weight.data_ptr(), to.data_ptr(), out, numbers, half, self._lender, self.threads)

    def step(
        self, net: Net, token: torch.Tensor | None, position: int, out: torch.Tensor | None, *, threads: int
    ) -> None:
        """As :class:`Loops` says."""
        of, to = (None if tensor is None else tensor.data_ptr() for tensor in (token, out))
        self._step(ctypes.addressof(net), self._lender, threads, of, position, to)


@cache
def library() -> Library | None:
    """The library for this machine, compiled if it has not been before; None where that cannot be done."""
    return build()


def build() -> Library | None:
    """What :func:`library` asks for once in the life of a process."""
    chosen, found = os.environ.get("CC", "").strip(), next(filter(None, map(shutil.which, COMPILERS)), None)
    if not (chosen or found) or platform.system() == "Windows":
        log.info("no C compiler: walks on this CPU use torch's operations, which take about twice as long")
        return None
    source = resources.files("simflow.native").joinpath("step.c").read_bytes()
    try:
        return loaded(shlex.split(chosen) or [str(found)], source)
    except (OSError, RuntimeError, ValueError, subprocess.SubprocessError, AttributeError) as error:
        log.info("step.c does not compile here (%s): walks on this CPU use torch's operations", error)
        return None


def loaded(compiler: Sequence[str], source: bytes) -> Library:
    """The library; one that was kept and does not load, such as one cut short, is made once more.

    Raises:
        OSError: it does not load even so, or as :func:`compiled`, whose other errors pass through.
    """
    path = compiled(compiler, source)
    try:
        return Library(path)
    except OSError:
        path.unlink(missing_ok=True)
        return Library(compiled(compiler, source))


def compiled(compiler: Sequence[str], source: bytes, choices: tuple[tuple[str, ...], ...] = FLAGS) -> Path:
    """The path of the library, which is made if it is not there yet, with the first flags that the compiler takes.

    Args:
        compiler: the words of its command, such as ``("ccache", "gcc")``.
        source: of the library.
        choices: flags, tried in turn.

    Raises:
        OSError: the cache cannot be written.
        RuntimeError: there is no home folder.
        subprocess.SubprocessError: the compiler refuses the source.
    """
    key = hashlib.sha256(b"\0".join((source, repr((*compiler, choices)).encode(), processor()))).hexdigest()
    path = cache_folder() / f"step-{key[:16]}.so"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        written, made = Path(folder, "step.c"), Path(folder, "step.so")
        written.write_bytes(source)
        for flags in choices:
            done = subprocess.run(
                [*compiler, *flags, str(written), "-o", str(made), "-lm"], capture_output=True, timeout=120
            )
            if done.returncode == 0:
                made.replace(path)  # whoever else compiles at this moment makes the same file
                return path
        said = done.stderr.decode(errors="replace").splitlines()
        raise subprocess.SubprocessError(next((line for line in said if "error" in line), "no reason given"))


def torch_threads() -> Lender | None:
    """The OpenMP that torch has loaded, or None."""
    folder = Path(torch.__file__).parent / "lib"
    for candidate in (None, *sorted(folder.glob("lib*omp*.so*")), *sorted(folder.glob("lib*omp*.dylib"))):
        try:
            loaded = ctypes.CDLL(None if candidate is None else str(candidate))
            names = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads")
            return Lender(*(ctypes.cast(getattr(loaded, name), Pointer).value for name in names))
        except (OSError, AttributeError):
            continue
    return None
