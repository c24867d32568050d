"""How many images fit: the memory that sampling holds in tensors, counted before anything is sampled.

Sampling goes through stages, one after the other, and the greediest decides::

    undoing a block   keys and values of its layers, and what a step or a pass computes with; of another prior than a
                      flow, its whole way from noise to latents
    score step        what the backward pass through the whole flow keeps
    decoding          feature maps of the decoder

The leading term of the first is the cache, ``2 * layers * tokens * width`` numbers per row, in 4 bytes each or, in
bfloat16, 2. A row is an image; where guidance acts, an image is two rows. Blocks follow one another, so one cache is
alive at a time. Beside the stages stand the weights, and with a block a copy of its own in the layout or dtype of the
products.

Nothing is worked out by hand: every stage runs dry, once with one image and once with two, on tensors that have shapes
but no numbers, and :class:`Alive` follows how many bytes are alive at once. The difference is an image's share, the
rest is there for any batch. Not counted: Python and torch themselves, what kernels use inside, and what an
allocator holds in reserve; leave them a part of the machine's memory.
"""

import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from simflow.flow.block import Block
from simflow.flow.decode import Decoding, Way, ways
from simflow.flow.guidance import Guidance
from simflow.flow.guided import condition_for, mix, narrowed, network_dtype
from simflow.flow.jacobi import Jacobi, rows_of
from simflow.flow.sequential import loops_for, step_of
from simflow.flow.stack import Flow
from simflow.model import Model, ModelConfig
from simflow.native.library import Loops
from simflow.pixels import to_uint8
from simflow.precision import computing_in
from simflow.sample import SampleConfig, applicable
from simflow.sit.prior import SiTConfig
from simflow.sit.solver import Euler

CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What a stage of sampling holds at its worst moment, in bytes, the model's weights left out."""

    name: str
    """Such as "undoing block 3"."""
    fixed: int
    """Held whatever the batch."""
    image: int
    """Held for each image of a batch."""


NO_ROOM = ("unable to find an engine", "STATUS_ALLOC_FAILED", "CUDA error: out of memory")
"""Words of errors by which cuDNN and cuBLAS say that their workspace does not fit, and the driver that what it needs
itself does not."""


def is_out(error: RuntimeError) -> bool:
    """Whether an error of torch says that a device has no memory left.

    >>> is_out(RuntimeError("CUDA error: out of memory"))
    True
    >>> is_out(RuntimeError("GET was unable to find an engine to execute this computation")), is_out(RuntimeError("no"))
    (True, False)
    """
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in NO_ROOM)


class Alive(TorchDispatchMode):
    """Counts the bytes of tensors made while the block lasts: those alive ``now``, and the ``most`` there were."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        """Runs an operation and notes the memory that it made and did not find."""
        out = func(*args, **(kwargs or {}))
        made = [tensor for tensor in tree_leaves(out) if isinstance(tensor, Tensor)]
        found = self._known.union(key_of(x) for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor))
        for tensor in made:
            if key_of(tensor) not in found:
                storage = tensor.untyped_storage()
                self._known.add(key_of(tensor))
                self.now += storage.nbytes()
                self.most = max(self.most, self.now)
                weakref.finalize(storage, self._gone, key_of(tensor), storage.nbytes())
        return out

    def _gone(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


class Idle:
    """Compiled loops that do nothing, for steps on tensors without numbers."""

    def __init__(self, loops: Loops) -> None:
        self.lanes, self.threads = loops.lanes, loops.threads
        self.packed_size, self._inputs = loops.packed_size, loops.inputs_size

    def address(self, tensor: Tensor) -> int:
        """Nowhere."""
        return 0

    def expect(self, tensor: Tensor) -> None:
        """Nothing is written."""

    def inputs_size(self, rows: int, numbers: int, *, half: bool) -> int:
        """The most that so many rows take, in proportion to their number: tiles have 16 rows, needed or not."""
        each, first = (self._inputs(count, numbers, half=half) for count in (16, 1))
        return rows * each // 16 + first - each // 16

    def pack(self, weight: Tensor, to: Tensor, *, half: bool) -> None:
        """Nothing is written."""

    def step(
        self, net: Any, token: Tensor | None, position: int, out: Tensor | None, *, threads: int
    ) -> None:
        """Nothing is computed."""


def key_of(tensor: Tensor) -> int:
    """What tensors that share memory have in common."""
    return tensor.untyped_storage()._cdata


def stages(model: Model, config: SampleConfig, decodings: Sequence[Decoding] = ()) -> list[Stage]:
    """The stages of sampling with their memory; the weights are not touched, nor is anything sampled.

    Args:
        model: in float32, its weights without gradients, as a :class:`~simflow.pipeline.Pipeline` holds them.
        config: how it is sampled; the batch does not matter.
        decodings: ways of decoding that are to be ready for, instead of that of ``config``.

    Raises:
        ValueError: a plan is for another number of blocks.
    """
    with FakeTensorMode():
        built = dry(model.config).build(model.facts).eval().requires_grad_(requires_grad=False)
        guidance = applicable(config.guidance, model)
        compiled = model.device.type in ("cpu", "meta")  # a GPU has no loops, though all runs dry on a CPU
        runs = stage_runs(built, config, guidance, decodings or (config.decoding,), compiled=compiled)
        return [measured(name, run) for name, run in runs]


def batch_within(model: Model, config: SampleConfig, limit: int, decodings: Sequence[Decoding] = ()) -> int:
    """The most images that can be sampled at once in ``limit`` bytes, weights included; at most ``config.batch``.

    ``decodings`` as for :func:`stages`.

    Raises:
        ValueError: not even one image fits.
    """
    weights = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
    batch = config.batch
    for stage in stages(model, config, decodings):
        least = weights + stage.fixed + stage.image
        if least > limit:
            raise ValueError(
                f"one image takes {gib(least)} at once ({stage.name}; {gib(weights)} of it are the weights), "
                f"and the memory allowed is {gib(limit)}"
            )
        batch = min(batch, (limit - weights - stage.fixed) // stage.image)
    return batch


def gib(count: int) -> str:
    """Bytes for people.

    >>> gib(3 * 2**29), gib(5 * 2**20)
    ('1.5 GiB', '5 MiB')
    """
    return f"{count / 2**30:.3g} GiB" if count >= 2**30 else f"{max(count / 2**20, 0.01):.3g} MiB"


def measured(name: str, run: Callable[[int], object]) -> Stage:
    """Runs a stage dry with one image and with two."""
    one, two = most_alive(partial(run, 1)), most_alive(partial(run, 2))
    return Stage(name=name, fixed=max(2 * one - two, 0), image=two - one)


def most_alive(act: Callable[[], object]) -> int:
    """The most bytes of new tensors that are alive at once during an act."""
    with Alive() as alive:
        act()
    return alive.most


def dry(config: ModelConfig) -> ModelConfig:
    """The model to run dry: SiT's solver repeats one step, so one step of it shows all."""
    if not isinstance(config.prior, SiTConfig):
        return config
    return replace(config, prior=replace(config.prior, solver=Euler(steps=1)))


def stage_runs(
    model: Model, config: SampleConfig, guidance: Any, decodings: Sequence[Decoding], *, compiled: bool
) -> Iterator[tuple[str, Callable[[int], object]]]:
    """Names of the stages, and what runs each with a number of images."""
    prior, shape = model.prior, model.latent_shape

    def noise(images: int) -> Tensor:
        return torch.zeros(images, *prior.noise_shape)

    def labels(images: int) -> Tensor:
        return torch.zeros(images, dtype=torch.int64)

    def undoing(block: Block, rule: Guidance | None, way: Way, images: int) -> None:
        held = [noise(images) for _ in range(len(prior.depths) + 4)]  # the states, and copies of one
        with torch.inference_mode(), computing_in(config.dtype, CPU):
            last_moment(block, held[0], labels(images), rule, way, compiled=compiled)

    def inverting(images: int) -> None:
        with computing_in(config.dtype, CPU):
            prior.inverse(noise(images), labels(images), guidance)

    if isinstance(prior, Flow):
        each = [ways(decoding, len(prior.depths)) for decoding in decodings]
        for number, block, rule in prior.undoing(guidance):
            for way in dict.fromkeys(chosen[number] for chosen in each):
                yield f"undoing block {number + 1}", partial(undoing, block, rule, way)
    else:
        yield "noise to latents", inverting
    refinement = applicable(config.refinement, model)
    if refinement is not None:

        def refining(images: int) -> Tensor:
            with torch.no_grad(), computing_in(config.dtype, CPU):
                return model.refined(torch.zeros(images, *shape), labels(images), refinement)

        yield "the score step", refining

    def decoding(images: int) -> Tensor:
        with torch.no_grad(), computing_in(config.dtype, CPU):
            return to_uint8(model.decode(torch.zeros(images, *shape)).float())

    yield "decoding", decoding


def last_moment(
    block: Block, z: Tensor, labels: Tensor, rule: Guidance | None, way: Way, *, compiled: bool
) -> None:
    """Makes what undoing a block makes, and takes its last step or pass, the greediest; ``compiled`` if it may be."""
    b, tokens, channels = z.shape
    rows, inputs = b if rule is None else 2 * b, max(tokens - (block.start is None), 1)
    if not isinstance(way, Jacobi):
        loops = loops_for(block, z) if way.compiled and compiled else None
        step = step_of(
            block,
            condition_for(block, labels, rule),
            rows=rows,
            wide=z.dtype,
            loops=None if loops is None else Idle(loops),
        )
        affine = step(z.new_zeros(rows, channels), inputs - 1)
        mix(affine, rule, position=tokens - 1, tokens=tokens).inverse(z[:, -1:])
        return
    block, window = narrowed(block), min(way.window or inputs, inputs)
    begin, cache = inputs - window, None
    if begin:
        every = rows_of(torch.arange(b), b, rows // b)
        cache = block.cache(batch=rows, dtype=network_dtype(block), device=z.device).of(every)
    seen = z[:, :window].repeat(rows // b, 1, 1)
    affine, _ = block.next_affine(seen, condition_for(block, labels, rule), position=begin, cache=cache)
    mix(affine, rule, position=tokens - 1, tokens=tokens).inverse(z[:, :window])
