"""What a flow must compute and move: multiplications, weights, keys and values.

A forward pass runs every token's network once. Its products are two operations a weight and token, and its attention
four a number of every pair of a token and one before it or itself. An exact walk does the same arithmetic, one token
after the other, so that every step reads all weights anew (unless a cache of the machine holds them) and the keys and
values of all tokens before. adaLN's modulations are computed once an image, not once a token.

A training step is three forward passes: one forward and, for inputs and for weights, two backward. Recomputing
activations is work, not progress, and is not counted (Chowdhery et al. 2022, appendix B).
"""

from collections.abc import Callable
from typing import NamedTuple

from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.ceilings import Work
from simflow.flow.block import Block
from simflow.flow.stack import Flow
from simflow.nn.transformer import Modulator


class Sizes(NamedTuple):
    """A block in numbers."""

    tokens: int
    """That go in: the last is of no use where the first is unchanged."""
    length: int
    """Of the sequence in its layers: with the prefix."""
    outside: int
    """Weights that every token is multiplied by before and after the layers."""
    inside: int
    """Weights in the layers that every token is multiplied by."""
    an_image: int
    """Weights of the modulations."""
    width: int
    """Numbers that attention reads of a token, in all layers together."""


def sizes_of(block: Block) -> Sizes:
    """What the arithmetic of a block follows from."""
    tokens = block.tokens - (block.start is None)
    an_image = sum(linear_weights(module) for module in block.modules() if isinstance(module, Modulator))
    outside = linear_weights(block.embed) + linear_weights(block.head)
    return Sizes(
        tokens=tokens,
        length=tokens + block.prefix,
        outside=outside,
        inside=linear_weights(block) - outside - an_image,
        an_image=an_image,
        width=block.config.width * len(block.transformer.layers),
    )


def linear_weights(module: nn.Module) -> int:
    """Numbers in the matrices of all linear maps of a module."""
    return sum(each.weight.numel() for each in module.modules() if isinstance(each, nn.Linear))


def forward_flop(flow: Flow, images: int, *, causal: bool = True) -> float:
    """Operations of one forward pass; not ``causal`` counts every pair of tokens, as flop counters do."""
    return float(images * sum(block_flop(block, causal=causal) for block in flow.chain()))


def block_flop(block: Block, *, causal: bool = True) -> int:
    """Operations of one forward pass of a block for one image; a walk through its tokens has as many."""
    size = sizes_of(block)
    pairs = pairs_of(size.length) if causal else size.length**2
    products = size.tokens * size.outside + size.length * size.inside + size.an_image
    return 2 * products + 4 * size.width * pairs


def pairs_of(length: int) -> int:
    """Pairs of a token and one before it, or itself."""
    return length * (length + 1) // 2


def a_pass(flow: Flow, images: int, *, itemsize: int) -> Work:
    """A forward pass: weights once, tokens in and out in float32."""
    tokens, channels = flow.noise_shape
    moved = itemsize * sum(map(linear_weights, flow.chain())) + 2 * 4 * images * tokens * channels
    return Work(forward_flop(flow, images), float(moved))


def a_walk(flow: Flow, images: int, *, itemsize: int) -> Work:
    """A walk through all tokens: weights, and keys and values of the tokens before, once a token."""
    moved = 0
    for block in flow.chain():
        size = sizes_of(block)
        moved += size.tokens * size.outside + size.length * size.inside + size.an_image
        moved += 2 * size.width * images * pairs_of(size.length)
    return Work(forward_flop(flow, images), float(itemsize * moved))


def counted_flop(run: Callable[[], object]) -> int:
    """Operations of the matrix products and convolutions in a call, as it runs, backward passes among them.

    Attention is counted in full. It runs in plain products here: fused kernels are not counted on every device.
    """
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()
