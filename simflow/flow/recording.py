"""Undoing a block by a walk that was recorded: on a GPU one launch takes the place of some ten thousand.

A walk is the same calls for every batch of one shape: no branch looks at a number, and all memory is taken at its
beginning. So it can be recorded as a CUDA graph and replayed on other noise and other labels. The first batch of a kind
walks, the second records, and it and all later ones replay; a kind is whatever changes the calls: shapes, dtypes,
guidance, and where the weights lie. What the weights are is read at every replay. A block keeps the recordings of its
last few kinds, and all recordings of a process share the memory that a walk needs on its way.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any, Literal, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from simflow.flow.block import Block
from simflow.flow.guidance import Guidance
from simflow.flow.guided import network_dtype
from simflow.flow.sequential import walk
from simflow.reasons import reason
from simflow.shapes import Labels, Tokens

logger = logging.getLogger("simflow")

Recorder = Callable[[Callable[[], Tensor]], tuple[Callable[[], None], Tensor]]
"""Runs a function once, and gives what runs it again and the tensor that its result is written to."""


class Tape(NamedTuple):
    """A recorded walk: where it reads noise and labels from, what runs it again, and where it writes tokens to."""

    noise: Tokens
    labels: Labels
    replay: Callable[[], None]
    tokens: Tokens


Known = Tape | Literal["seen", "refused"]
"""What is known of a kind of batch: its walk, or that there has been one, or that it could not be recorded."""

KINDS = 4
"""Most kinds of batches that a block remembers."""

_RECORDINGS: WeakKeyDictionary[Block, dict[Any, Known]] = WeakKeyDictionary()
"""Of the blocks that are alive, by kind, the last one used at the end. They are not part of a block: one that is copied
has none."""


def replayed(
    block: Block, z: Tokens, labels: Labels, guidance: Guidance | None, *, record: Recorder | None = None
) -> Tokens:
    """Noise in the block's order -> tokens in the block's order, as :func:`~simflow.flow.sequential.walk` gives them.

    What it returns may be written over by the next call.

    Args:
        block, z, labels, guidance: as for the walk.
        record: how a walk is recorded; as a CUDA graph if None.
    """
    recordings, kind = _RECORDINGS.setdefault(block, {}), kind_of(block, z, guidance)
    known = recordings.pop(kind, None)
    if known == "seen":
        known = taped(block, z, labels, guidance, record or partial(cuda_graph, device=z.device))
    recordings[kind] = known or "seen"
    if len(recordings) > KINDS:
        del recordings[next(iter(recordings))]
    if not isinstance(known, Tape):
        return walk(block, z, labels, guidance, compiled=False)
    known.noise.copy_(z)
    known.labels.copy_(labels)
    known.replay()
    return known.tokens


def taped(
    block: Block, z: Tokens, labels: Labels, guidance: Guidance | None, record: Recorder
) -> Tape | Literal["refused"]:
    """A block's walk on tensors of its own; what is refused is said."""
    noise, own = z.clone(), labels.clone()
    try:
        replay, tokens = record(lambda: walk(block, noise, own, guidance, compiled=False))
    except RuntimeError as error:
        logger.warning("a walk could not be recorded and is not replayed: %s", reason(error))
        return "refused"
    return Tape(noise, own, replay, tokens)


def kind_of(block: Block, z: Tokens, guidance: Guidance | None) -> tuple[Any, ...]:
    """What a recorded walk depends on besides the numbers in noise, labels and weights."""
    places = tuple(parameter.data_ptr() for parameter in block.parameters())
    return z.shape, z.dtype, z.device, network_dtype(block), guidance, places


def cuda_graph(function: Callable[[], Tensor], *, device: torch.device) -> tuple[Callable[[], None], Tensor]:
    """Records a function of tensors on a GPU; other threads may use the GPU meanwhile.

    Raises:
        RuntimeError: it does something that cannot be recorded, or there is not enough memory.
    """
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.device(device):
        stream, first = studio(device)
        with graph_of(graph, stream, pool=first.pool()):
            result = function()
    return graph.replay, result


@cache
def studio(device: torch.device) -> tuple[torch.cuda.Stream, torch.cuda.CUDAGraph]:
    """The stream on which a GPU's walks are recorded, and a recording that keeps the memory that all of them share.

    They may share it, for they are replayed one after the other, and only results stay. Without one that lives as long
    as the process, torch would refuse the memory to the next recording once all others were gone.
    """
    stream, first = torch.cuda.Stream(device), torch.cuda.CUDAGraph()
    torch.zeros(1, device=device)  # what is loaded at a first use is loaded before
    with graph_of(first, stream):
        torch.zeros(1, device=device)
    return stream, first


@contextmanager
def graph_of(graph: torch.cuda.CUDAGraph, stream: torch.cuda.Stream, *, pool: Any = None) -> Iterator[None]:
    """Records the block; after an error the thread's own stream is the current one again, which torch forgets."""
    before = torch.cuda.current_stream(stream.device)
    try:
        with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
            yield
    except BaseException:
        torch.cuda.set_stream(before)
        raise
