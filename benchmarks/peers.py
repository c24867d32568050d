"""Other people's TarFlow from a checkout whose path the user gives; never copied, never needed.

apple/ml-tarflow samples token by token. encoreus/GS-Jacobi_for_TarFlow is the same network with Jacobi passes, in
windows or not (Liu & Qin 2025, arXiv 2505.12849). Both are built from their own blocks and given our weights, so a
comparison is at equal weights; a flow that they cannot express is refused.
"""

import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from simflow.flow.apple import rename
from simflow.flow.base import Unchanged
from simflow.flow.block import BlockConfig
from simflow.flow.stack import Flow

TARFLOW = ("transformer_flow", "apple/ml-tarflow")
GS_JACOBI = ("GS_Jacobi_sampling", "encoreus/GS-Jacobi_for_TarFlow")


def tarflow(checkout: Path, flow: Flow) -> Any:
    """ml-tarflow's model with the flow's weights.

    Raises:
        ValueError: the path is no checkout of it, or the flow is not a TarFlow.
    """
    return filled(load(checkout, *TARFLOW), flow)


def gs_jacobi(checkout: Path, flow: Flow) -> Any:
    """The model of GS-Jacobi_for_TarFlow with the flow's weights.

    Raises:
        ValueError: the path is no checkout of it, or the flow is not a TarFlow.
    """
    return filled(load(checkout, *GS_JACOBI), flow)


def load(checkout: Path, name: str, project: str) -> ModuleType:
    """A module of a checkout, under a name of ours: the compiler looks modules up by name.

    Raises:
        ValueError: it is not there.
    """
    file, known = checkout / f"{name}.py", f"benchmarks.peer_{name}"
    spec = importlib.util.spec_from_file_location(known, file)
    if not file.is_file() or spec is None or spec.loader is None:
        raise ValueError(f"'{checkout}' is no checkout of {project}: it has no {file.name}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[known] = module
    spec.loader.exec_module(module)
    return module


def filled(module: ModuleType, flow: Flow) -> Any:
    """A model of the peer's classes as the flow is: same shapes, same weights, same device."""
    config = tarflow_config(flow)
    (tokens, channels), (image_channels, side, _) = flow.noise_shape, flow.latent_shape
    with flow.chain()[0].embed.weight.device:
        model = module.Model(
            in_channels=image_channels,
            img_size=side,
            patch_size=flow.patch,
            channels=config.width,
            num_blocks=0,
            layers_per_block=0,
            num_classes=flow.classes,
        )
        orders = [module.PermutationIdentity(tokens), module.PermutationFlip(tokens)]
        model.blocks = nn.ModuleList(
            module.MetaBlock(
                channels,
                config.width,
                tokens,
                orders[number % 2],
                layers,
                head_dim=config.width // config.heads,
                num_classes=flow.classes,
            )
            for number, layers in enumerate(flow.depths)
        )
    copy_weights(flow, model)
    return model.eval()


@torch.no_grad()
def copy_weights(flow: Flow, model: nn.Module) -> None:
    """Our weights under the peer's names; what it has besides, masks and a variance of one, stays."""
    ours = flow.state_dict()
    for name, tensor in model.state_dict().items():
        for known in rename({name: tensor}).keys() - {"base.variance"}:
            tensor.copy_(ours[known].view_as(tensor))


def tarflow_config(flow: Flow) -> BlockConfig:
    """What all blocks of the flow share.

    Raises:
        ValueError: TarFlow has no such blocks.
    """
    first = flow.chain()[0]
    config = first.config
    known = BlockConfig(width=config.width, heads=config.heads, conditioning="added", null_class="mean")
    if config != known or first.order != "raster" or not isinstance(flow.base, Unchanged):
        raise ValueError(
            "the peers know TarFlow's flows only: classes added to every token, their mean for none, the first token "
            "unchanged, scales by exp, positions in a table, raster order first"
        )
    return config


@torch.no_grad()
def shake(flow: Flow, *, spread: float = 0.2) -> None:
    """Moves the parameters of a fresh flow by little, and sets its heads so that its maps spread by ``spread``.

    A fresh flow is the identity, which every sampler undoes. Without a norm before the head the hidden numbers grow
    with the root of the depth, and samples must stay of order one for any of it.
    """
    for parameter in flow.parameters():
        parameter += 0.02 * torch.randn_like(parameter)
    for block in flow.chain():
        depth = 1 if block.final is not None else 1 + len(block.transformer.layers)
        block.head.weight.normal_(std=spread / math.sqrt(block.config.width * depth))
