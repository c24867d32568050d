"""Weights of Apple's TarFlow and STARFlow as weights of our :class:`~simflow.flow.stack.Flow`.

The chains are the same functions, so importing is renaming: a published TarFlow checkpoint is a state dict of one
flow over square images, and every choice but the head size (always 64) can be read from the shapes of its tensors.
Three things are dropped or changed on the way: attention masks, which the code makes anew; the class table, which
has an axis of length one; and the final RMS norm of STARFlow, which stores its gain less one.

Files are read as tensors only: a checkpoint that would run code is refused.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from simflow.flow.base import FittedNormal, StandardNormal
from simflow.flow.block import BlockConfig
from simflow.flow.stack import FlowConfig
from simflow.tensors import misfit, read_tensors

HEAD_SIZE = 64
"""Numbers in an attention head of every published TarFlow and STARFlow."""

IN_LAYERS = {
    "attention.norm": "norm_attention",
    "attention.qkv": "attention.qkv",
    "attention.proj": "attention.proj",
    "mlp.norm": "norm_mlp",
    "mlp.main.0": "mlp.0",
    "mlp.main.2": "mlp.2",
}
"""Modules of a layer: their names and ours."""

LAYER = re.compile(
    r"(?P<block>blocks\.\d+)\.attn_blocks\.(?P<layer>\d+)\.(?P<module>.+)\.(?P<kind>weight|bias)"
)
LINEAR = re.compile(r"(?P<block>blocks\.\d+)\.(?P<module>proj_in|proj_out)\.(?P<kind>weight|bias)")


class Imported(NamedTuple):
    """A flow read from a checkpoint: what builds it, what it expects of images, and its weights."""

    config: FlowConfig
    image_size: int
    channels: int
    classes: int
    state: dict[str, Tensor]

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Pixels are the latents of TarFlow."""
        return self.channels, self.image_size, self.image_size


def read_tarflow(path: Path) -> Imported:
    """A checkpoint of ml-tarflow (:func:`~simflow.tensors.read_tensors`) as config, facts and state dict.

    Raises:
        ValueError: there is no such file, it is no file of tensors, or it is not a TarFlow of square images.
    """
    return from_tarflow(read_tensors(path))


def from_tarflow(weights: Mapping[str, Tensor]) -> Imported:
    """A state dict with ml-tarflow's names as config, facts and state dict with ours; tensors are shared.

    Raises:
        ValueError: names or shapes are not those of a TarFlow of square gray or colour images.
    """
    state = rename(weights)
    table, head = (need(state, f"blocks.0.{name}") for name in ("positions", "head.weight"))
    (tokens, width), channels = table.shape, need(state, "blocks.0.embed.weight").shape[1]
    patch, image_channels = shape_of_patch(channels)
    side = math.isqrt(tokens)
    if side**2 != tokens:
        raise ValueError(
            f"a TarFlow of square images has a square number of tokens, and this one has {tokens}"
        )
    if width % HEAD_SIZE:
        raise ValueError(
            f"the width {width} cannot be split into attention heads of {HEAD_SIZE}, as TarFlow's are"
        )
    preserving = head.shape[0] == channels
    variance = need(state, "base.variance")
    fitted = preserving or not bool((variance == 1).all())
    if not fitted:
        del state["base.variance"]
    config = FlowConfig(
        patch=patch,
        depths=depths_of(state),
        block=BlockConfig(
            width=width,
            heads=width // HEAD_SIZE,
            conditioning="added",
            null_class="mean",
            scale="none" if preserving else "exp",
        ),
        base=FittedNormal() if fitted else StandardNormal(),
    )
    classes = len(state["blocks.0.classes.table"]) if "blocks.0.classes.table" in state else 0
    imported = Imported(config, side * patch, image_channels, classes, state)
    check(imported)
    return imported


def rename(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names of ml-tarflow and ml-starflow (images, with a class or without) -> our names.

    Raises:
        ValueError: a name belongs to neither.
    """
    state: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        block, _, rest = name.rpartition(".")
        if (match := LAYER.fullmatch(name)) and match["module"] in IN_LAYERS:
            ours = IN_LAYERS[match["module"]]
            state[f"{match['block']}.transformer.layers.{match['layer']}.{ours}.{match['kind']}"] = tensor
        elif match := LINEAR.fullmatch(name):
            ours = {"proj_in": "embed", "proj_out": "head"}[match["module"]]
            state[f"{match['block']}.{ours}.{match['kind']}"] = tensor
        elif rest == "pos_embed":
            state[f"{block}.positions"] = tensor
        elif rest == "class_embed":
            state[f"{block}.classes.table"] = tensor.squeeze(1)
        elif rest == "sos_embed":
            state[f"{block}.start"] = tensor.flatten()
        elif name.endswith(".final_norm.weight"):
            state[name] = 1 + tensor
        elif name.endswith(".proj_txt.weight"):
            bias = weights[name.replace("weight", "bias")]
            state[name.replace("proj_txt.weight", "classes.table")] = tensor.T + bias
        elif name == "var":
            state["base.variance"] = tensor
        elif rest not in ("attn_mask", "freqs_cos", "freqs_sin") and not name.endswith(".proj_txt.bias"):
            raise ValueError(f"this is not a TarFlow state dict: it has a tensor named '{name}'")
    return state


def shape_of_patch(channels: int) -> tuple[int, int]:
    """Side of a patch and channels of the image, from the numbers in a token: three times a square, or a square.

    >>> shape_of_patch(192), shape_of_patch(16)
    ((8, 3), (4, 1))
    """
    for image_channels in (3, 1):
        patch = math.isqrt(channels // image_channels)
        if image_channels * patch**2 == channels:
            return patch, image_channels
    raise ValueError(f"tokens of {channels} numbers are no square patches of gray or colour images")


def depths_of(state: Mapping[str, Tensor]) -> tuple[int, ...]:
    """Layers of each block, counted from the names."""
    layers: dict[int, set[int]] = {}
    for name in state:
        if match := re.match(r"blocks\.(\d+)\.transformer\.layers\.(\d+)\.", name):
            layers.setdefault(int(match[1]), set()).add(int(match[2]))
    return tuple(len(layers[block]) for block in sorted(layers))


def need(state: Mapping[str, Tensor], name: str) -> Tensor:
    """The tensor of that name.

    Raises:
        ValueError: there is none.
    """
    if name not in state:
        raise ValueError(f"this is not a TarFlow state dict: it lacks what we call '{name}'")
    return state[name]


def check(imported: Imported) -> None:
    """Refuses weights that do not fill the flow they describe, name by name and shape by shape."""
    with torch.device("meta"):
        flow = imported.config.build(latent_shape=imported.latent_shape, classes=imported.classes)
    wrong = misfit(imported.state, flow.state_dict())
    if wrong is not None:
        raise ValueError(f"this is not a whole TarFlow: {wrong}")
