"""Several processes as one: who am I, and sums, means and gathers over everybody.

Started by ``torchrun``, every process holds one *rank* of the *world* and its own device. Started plainly,
the world is 1, every function here returns its argument, and no process group exists; so the callers need no
``if``. All functions but :func:`rank`, :func:`world` and :func:`is_main` are *collective*: every rank must
call them, in the same order. They carry numbers, never gradients.

Outside :mod:`simflow.train` this is the only file that knows ``torch.distributed``.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from typing import TypeVar, cast

import torch
from jaxtyping import Int
from torch import Tensor
from torch import distributed as dist

Item = TypeVar("Item")

PATIENCE = timedelta(hours=2)
"""How long the ranks wait for one of them. While rank 0 alone compares images with images on its CPU, the others stand
in the next collective already, and NCCL left to itself would abort the run after ten minutes."""


def is_running() -> bool:
    """Whether a process group has been initialised, by :func:`launch` or by the user."""
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """This process's number, ``0 .. world() - 1``."""
    return dist.get_rank() if is_running() else 0


def world() -> int:
    """How many processes work together."""
    return dist.get_world_size() if is_running() else 1


def is_main() -> bool:
    """Whether this is rank 0, the one that writes files and talks."""
    return rank() == 0


def barrier() -> None:
    """Waits until every rank has come here."""
    if is_running():
        dist.barrier()


@torch.no_grad()
def sum_over_ranks(x: Tensor) -> Tensor:
    """The elementwise sum over ranks of equally shaped tensors; a new tensor unless the world is 1."""
    if world() == 1:
        return x.detach()
    total = x.detach().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total


@torch.no_grad()
def mean_over_ranks(x: Tensor) -> Tensor:
    """The elementwise mean over ranks of equally shaped floating-point tensors."""
    return sum_over_ranks(x) / world()


@torch.no_grad()
def gather_tensors(x: Tensor) -> Tensor:
    """The ranks' tensors ``(n_rank, *shape)`` in rank order, ``(sum of n_rank, *shape)``, on every rank.

    Ranks may hold different ``n_rank``, also 0; the rest of the shape and the dtype must agree.
    """
    if world() == 1:
        return x.detach()
    lengths = gather_objects(len(x))
    padded = x.new_zeros((max(lengths), *x.shape[1:]))
    padded[: len(x)] = x
    parts = [torch.empty_like(padded) for _ in lengths]
    dist.all_gather(parts, padded)
    return torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)])


def gather_objects(item: Item) -> list[Item]:
    """The ranks' items, in rank order, on every rank; for small things, since they travel pickled."""
    if world() == 1:
        return [item]
    items: list[Item | None] = [None] * world()
    dist.all_gather_object(items, item)
    return cast(list[Item], items)


def cores() -> int:
    """How many cores this process may use, which in a container can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def from_main(work: Callable[[], Item]) -> Item:
    """What rank 0's work gives, on every rank; the others do nothing meanwhile, and leave it their cores. For small
    results.

    The work may take as long as the others have patience (:data:`PATIENCE`).

    Raises:
        ValueError: the work raised one; every rank raises it.
        RuntimeError: on the other ranks, the work raised another error, which rank 0 raises.
    """
    raised, result = None, None
    if is_main():
        try:
            with threads(cores()) if world() > 1 else nullcontext():
                result = work()
        except Exception as error:
            raised = error
    told = None if raised is None else (isinstance(raised, ValueError), f"{raised}")
    told, result = gather_objects((told, result))[0]
    if raised is not None:
        raise raised
    if told is not None:
        ours, said = told
        raise ValueError(said) if ours else RuntimeError(f"the first process has failed: {said}")
    return cast(Item, result)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """So many threads compute on this process's CPU while the block lasts; torchrun leaves each process one."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def share_of(total: int) -> Int[Tensor, " own"]:
    """The numbers of ``0 .. total - 1`` that this process sees to: contiguous, ascending with the rank."""
    first, last = (total * (rank() + place) // world() for place in (0, 1))
    return torch.arange(first, last)


def batches_of_share(total: int, batch: int) -> tuple[Int[Tensor, " part"], ...]:
    """:func:`share_of`, at most ``batch`` numbers at a time; nothing for a process without a share."""
    share = share_of(total)
    return share.split(batch) if len(share) else ()


def gather_rows(x: Tensor, device: torch.device | str) -> Tensor:
    """The processes' rows in the order of their ranks, on the CPU; ``device`` is where processes can talk."""
    return x if world() == 1 else gather_tensors(x.to(device)).cpu()


def prepare(device: torch.device) -> None:
    """Settings of this process for a GPU; nothing on other devices.

    float32 is float32 in convolutions too, as it is in matrix products. Attention is never cuDNN's, which is torch's
    first choice for bfloat16 on an H100: it builds a plan anew for every length, and a walk through the tokens has as
    many lengths as tokens.
    """
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.enable_cudnn_sdp(enabled=False)


def device_of(device: torch.device | str) -> torch.device:
    """The device that a word means: ``"auto"`` (cuda if there is one, else cpu), ``"cpu"``, ``"cuda"``, ``"cuda:1"``,
    ``"mps"``; ``"cuda"`` without a number is this process's current GPU.

    Raises:
        ValueError: an unknown device; or one that is not there.
    """
    word = str(device)
    if word == "auto":
        word = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = word.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (":" in word and not number.isdecimal()):
        raise ValueError(f"device '{device}' is not known: use auto, cpu, cuda or mps")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise ValueError(f"device '{device}' is asked for, but torch finds no GPU of Apple's here")
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device '{device}' is asked for, but torch finds no CUDA GPU here")
    if kind == "cuda" and number and int(number) >= torch.cuda.device_count():
        raise ValueError(
            f"device '{device}' is asked for, but the CUDA GPUs here are {torch.cuda.device_count()}, counted from 0"
        )
    return torch.device(word)


@contextmanager
def launch(device: str = "auto") -> Iterator[torch.device]:
    """Joins the processes that ``torchrun`` started, for as long as the block lasts; gives the device to use.

    The group is left when the block ends well. After an error it stays: all have to leave it together, and the others
    may be waiting for this one. Such a process is to end at once (as :func:`simflow.cli.main` does), and torchrun ends
    the others.

    Args:
        device: as for :func:`device_of`; but under torchrun ``cuda`` means the GPU with this process's ``LOCAL_RANK``.

    Raises:
        ValueError: as :func:`device_of`; or torchrun with a GPU of Apple's.
    """
    chosen = device_of(device)
    joined = {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR"} <= os.environ.keys()
    if joined and chosen.type == "mps":
        raise ValueError(
            "processes of torchrun cannot share a GPU of Apple's: leave torchrun, or say --device cpu"
        )
    if chosen.type == "cuda":
        local = int(os.environ["LOCAL_RANK"]) if joined else chosen.index or 0
        chosen = torch.device("cuda", local)
        torch.cuda.set_device(chosen)
    prepare(chosen)
    if not joined:
        yield chosen
        return
    if chosen.type == "cuda":
        dist.init_process_group("nccl", device_id=chosen, timeout=PATIENCE)
    else:
        dist.init_process_group("gloo", timeout=PATIENCE)
    yield chosen
    dist.destroy_process_group()
