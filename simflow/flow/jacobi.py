"""Undoing a block by fixed-point passes: many tokens at once, a few times over.

Undoing a block solves ``x_i = z_i * exp(log_scale(x_<i)) + shift(x_<i)`` for all *i*. Token by token that is a walk;
here the tokens of a window are guessed, all maps of the window are computed in one parallel pass, and what they give
is the next guess: Jacobi's method, and by windows that of Gauss, Seidel and Jacobi (Song et al. 2021; for TarFlow, Liu
& Qin 2025, arXiv 2505.12849). The system is triangular, so after *p* passes the first *p* tokens of a window are
exact: a window of *w* tokens needs at most *w* passes, and usually far fewer. Windows follow one another, with the
keys and values of those solved in a cache.

An image stops when its own guess moves by no more than the tolerance in any number of the window; it leaves the batch
then, so what an image becomes does not depend on its batch mates.

What the tolerance means
------------------------
It is a distance between tokens of *this block*, one pass apart: not a distance to the exact inverse, nor one of images.
The distance of a block's tokens to the exact ones is of the order of the tolerance where the map contracts, and zero
for a tolerance of 0; later blocks and the decoder stretch or shrink it. What it comes to in the final image is not
computed here but measured on a trained model (:mod:`simflow.plan`).

It pays where latency binds, not arithmetic: a pass over ``w`` tokens costs up to ``w`` times the arithmetic of a step.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from simflow.flow.block import Block
from simflow.flow.guidance import Guidance
from simflow.flow.guided import condition_for, mix, narrowed, network_dtype
from simflow.shapes import Labels, Tokens


@dataclass(frozen=True, kw_only=True)
class Jacobi:
    """Parallel fixed-point passes within a stated tolerance."""

    window: int | None = None
    """Tokens solved at once, one window after the other; None for all of them."""
    tolerance: float = 1e-3
    """An image is done when no number of its tokens of this block moves further in a pass; 0 is the exact inverse."""
    max_passes: int | None = None
    """Most passes over a window, which ends them whatever the tolerance; None for as many as it has tokens."""
    blocks: Literal["all", "shallow"] = "all"
    """Undo all blocks so, or leave the deep one, the hard one, to the sequential walk."""

    def __post_init__(self) -> None:
        for name in ("window", "max_passes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} of Jacobi decoding must be at least 1, not {value}")
        if not self.tolerance >= 0:
            raise ValueError(
                f"the tolerance of Jacobi decoding must not be negative, and is {self.tolerance}"
            )


class Solved(NamedTuple):
    """Tokens ``(b, n, d)`` in the block's order, and how many passes each image took ``(b,)``, over all windows."""

    tokens: Tokens
    passes: Tensor


def solve(block: Block, z: Tokens, labels: Labels, guidance: Guidance | None, config: Jacobi) -> Solved:
    """Noise in the block's order -> tokens in the block's order.

    Args:
        block: the block.
        z: noise ``(b, n, d)``; the first guess, and not written to.
        labels: ``(b,)``, negative for "no class".
        guidance: a rule for mixing conditional and unconditional maps, or None.
        config: window, tolerance and most passes.
    """
    block = narrowed(block)
    b, tokens, channels = z.shape
    if block.start is None:
        line, first = z.clone(), 1
    else:
        start = block.start.to(z.dtype).expand(b, 1, channels)
        line, first = torch.cat([start, z], dim=1), 0
    inputs = tokens - first  # input i stands at line[i]; its map gives line[i + 1] from z[i + first]
    window = inputs if config.window is None else config.window
    whole = condition_for(block, labels, guidance)
    times = 1 if guidance is None else 2
    cache = None
    if window < inputs:
        cache = block.cache(batch=times * b, dtype=network_dtype(block), device=z.device)
    passes = torch.zeros(b, dtype=torch.long, device=z.device)
    for begin in range(0, inputs, max(window, 1)):
        end = min(begin + window, inputs)
        places = torch.arange(begin + first, end + first, dtype=z.dtype, device=z.device)[:, None]
        images, condition, room = torch.arange(b, device=z.device), whole, cache
        for _ in range(min(end - begin, config.max_passes or tokens)):
            affine, _ = block.next_affine(
                line[images, begin:end].repeat(times, 1, 1), condition, position=begin, cache=room
            )
            affine = mix(affine, guidance, position=places, tokens=tokens)
            guess = affine.inverse(z[images, begin + first : end + first])
            moved = (guess - line[images, begin + 1 : end + 1]).abs().amax(dim=(1, 2))
            line[images, begin + 1 : end + 1] = guess
            passes[images] += 1
            going = ~(moved <= config.tolerance)
            left = int(going.sum())
            if not left:
                break
            if left < len(images):
                images = images[going]
                condition = condition_for(block, labels[images], guidance)
                room = None if cache is None else cache.of(rows_of(images, b, times))
    return Solved(line[:, 1 - first :], passes)


def rows_of(images: Tensor, batch: int, times: int) -> Tensor:
    """The rows of images in a batch that stands there ``times`` times."""
    return torch.cat([images + batch * i for i in range(times)])
