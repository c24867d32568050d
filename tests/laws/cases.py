"""The implementations on which every law is tested: one line each. A new one is a new line of ``FLOWS``.

Heads, gates and modulators are zero at initialisation, where every law holds trivially: :func:`build` moves all
parameters away from there, by little enough that scales stay within a factor of a few.
"""

from collections.abc import Callable
from itertools import product
from typing import Literal

import torch
from torch import Tensor, nn

from simflow.flow.base import FittedNormal, StandardNormal
from simflow.flow.block import BlockConfig
from simflow.flow.order import Order
from simflow.flow.stack import Flow, FlowConfig
from simflow.nn.rotary import Rotary
from simflow.shapes import NULL

CLASSES = 3


def flow(
    *,
    depths: tuple[int, ...] = (1, 2),
    patch: int = 1,
    first: Order = "raster",
    labelled: Literal["all", "deep"] = "all",
    base: StandardNormal | FittedNormal = StandardNormal(),  # noqa: B008
    **block,
) -> FlowConfig:
    """A flow that is tiny except where the line of the table says otherwise."""
    config = BlockConfig(width=8, heads=2, **block)
    return FlowConfig(depths=depths, patch=patch, first=first, labelled=labelled, base=base, block=config)


FLOWS: dict[str, FlowConfig] = {
    f"{conditioning}-{first}-{scale}{'-clip' if clip else ''}": flow(
        conditioning=conditioning, first_token=first, scale=scale, clip=clip
    )
    for conditioning, first, scale, clip in product(
        ("adaln", "added"), ("unchanged", "learned"), ("exp", "softplus"), (None, 1.5)
    )
} | {
    "one block": flow(depths=(2,)),
    "one learned block": flow(depths=(1,), first_token="learned"),
    "three blocks": flow(depths=(1, 1, 1)),
    "deep-shallow": flow(depths=(1, 1, 4)),
    "patch 2": flow(patch=2),
    "patch 2, learned": flow(patch=2, first_token="learned"),
    "mean class": flow(null_class="mean"),
    "tarflow": flow(conditioning="added", null_class="mean", patch=2, depths=(2, 2, 2)),
    "starflow": flow(
        conditioning="prefix",
        first_token="learned",
        positions=Rotary(),
        scale="softplus",
        clip=4.0,
        final_norm=True,
        depths=(1, 1, 3),
    ),
    "prefix": flow(conditioning="prefix"),
    "prefix, mean class": flow(conditioning="prefix", null_class="mean", first_token="learned"),
    "rotary": flow(positions=Rotary(base=100.0)),
    "final norm": flow(conditioning="added", final_norm=True),
    "volume-preserving": flow(scale="none", base=FittedNormal()),
    "volume-preserving tarflow": flow(conditioning="added", scale="none", base=FittedNormal(), patch=2),
    "reversed first": flow(first="reversed", depths=(1, 1, 1)),
    "deep labels": flow(labelled="deep"),
    "deep labels by prefix": flow(labelled="deep", conditioning="prefix", first_token="learned"),
    "checkpointing": flow(checkpointing=True),
}


def build(
    config: FlowConfig,
    *,
    latent_shape: tuple[int, int, int] | None = None,
    classes: int = CLASSES,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
) -> Flow:
    """The flow with random parameters; its latents are (2, 2, 3), or (1, 4, 6) with patches of 2."""
    shape = latent_shape or ((2, 2, 3) if config.patch == 1 else (1, 4, 6))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        built = config.build(latent_shape=shape, classes=classes)
    randomise(built, seed=seed)
    return built.to(dtype)


def randomise(module: nn.Module, *, seed: int = 0, size: float = 0.2) -> None:
    """Adds Gaussian noise to every parameter, in place; a quarter of it to heads, which feed on what they scale.

    Running variances, the only buffers that are saved, are drawn from [1, 3].
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            tame = size / 4 if "head." in name else size
            parameter += tame * torch.randn(parameter.shape, generator=generator)
        saved = module.state_dict(keep_vars=True)
        for buffer in (tensor for tensor in saved.values() if not isinstance(tensor, nn.Parameter)):
            buffer.copy_(1 + 2 * torch.rand(buffer.shape, generator=generator))


def normal(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    """Standard normal numbers of one seed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def latents_for(built: Flow, batch: int = 4, *, dtype: torch.dtype = torch.float64) -> Tensor:
    """Random latents that fit the flow."""
    return normal(batch, *built.latent_shape, dtype=dtype)


def noise_for(built: Flow, batch: int = 4, *, dtype: torch.dtype = torch.float64) -> Tensor:
    """Random noise that fits the flow."""
    return normal(batch, *built.noise_shape, seed=2, dtype=dtype)


def labels_for(batch: int = 4) -> Tensor:
    """Some classes and the null class: 0, -1, 2, 1, 0, …"""
    return torch.tensor([(0, NULL, 2, 1)[i % 4] for i in range(batch)])


def jacobian(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """``d function / d x`` of shape (outputs…, inputs…), by autograd."""
    result = torch.autograd.functional.jacobian(function, x)
    assert isinstance(result, Tensor)
    return result


def dull_inverse(
    built: Flow,
    z: Tensor,
    labels: Tensor,
    combine: Callable | None = None,
    *,
    temperature: Tensor | None = None,
) -> Tensor:
    """The inverse of a flow by the dullest loop there is: no cache, no doubled batch, no state.

    For every token the whole parallel pass is computed anew and one token of it is used. ``combine(conditional,
    unconditional, j, deep)`` mixes the two affine maps ``(shift, log_scale)`` of token ``j`` of the block's order;
    the unconditional one is computed at an attention temperature.
    """
    count = len(built.chain())
    nothing = torch.full_like(labels, NULL)
    z = built.base.inverse(z)
    for index in range(count - 1, -1, -1):
        block = built.chain()[index]
        order = list(range(z.shape[1]))
        if block.order == "reversed":
            order.reverse()
        x = torch.zeros_like(z)
        for j, place in enumerate(order):
            shift, log_scale = (
                part[:, j] for part in block.affine_of(x[:, order], block.condition(labels))[0]
            )
            if combine is not None:
                other = [
                    part[:, j]
                    for part in block.affine_of(x[:, order], block.condition(nothing, temperature))[0]
                ]
                shift, log_scale = combine((shift, log_scale), other, j, index == count - 1)
            x[:, place] = z[:, place] * log_scale.exp() + shift
        z = x.detach()
    c, h, w = built.latent_shape
    p = built.patch
    latents = torch.empty(len(z), c, h, w, dtype=z.dtype)
    for row in range(h):
        for column in range(w):
            token = z[:, (row // p) * (w // p) + column // p]
            for channel in range(c):
                latents[:, channel, row, column] = token[:, (channel * p + row % p) * p + column % p]
    return latents
