"""The flows whose outputs are compared with Apple's: small, and filled with weights by a formula.

A case says how to build the peer's model (``peer``), what its state dict looks like (``shapes``, facts about names
and shapes), how to read it (``read``) and which samplers to compare (``guided``: our rule beside the peer's
arguments). Weights and inputs are sines of their index, so nothing of Apple's is stored: ``tarflow.json`` and
``starflow.json`` hold a few numbers that the peers answered, written by ``record.py``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from simflow.flow.apple import from_tarflow, rename
from simflow.flow.block import BlockConfig
from simflow.flow.guidance import GaussianProduct, Guidance, LogScale
from simflow.flow.stack import Flow, FlowConfig
from simflow.nn.rotary import Rotary

Weights = dict[str, Tensor]
BATCH = 3


def wave(shape: tuple[int, ...], phase: float) -> Tensor:
    """Numbers in [-1, 1] by a formula: ``sin(k^1.3 + phase)`` for the k-th number."""
    index = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    return torch.sin(index**1.3 + phase).reshape(shape).float()


def fill(shapes: dict[str, tuple[int, ...]]) -> Weights:
    """Weights of sizes at which every part matters and scales stay within a factor of a few."""
    weights: Weights = {}
    for number, (name, shape) in enumerate(sorted(shapes.items())):
        values = wave(shape, phase=0.37 * number)
        if name == "var":
            weights[name] = 1 + 0.5 * values
        elif "norm" in name and name.endswith("weight"):
            weights[name] = ("final_norm" not in name) + 0.2 * values
        elif name.endswith("bias"):
            weights[name] = 0.1 * values
        elif name.endswith(("pos_embed", "class_embed", "sos_embed", "proj_txt.weight")):
            weights[name] = 0.7 * values
        else:
            weights[name] = (0.15 if "proj_out" in name else 1.2) * values / shape[-1] ** 0.5
    return weights


@dataclass(frozen=True, kw_only=True)
class Case:
    """One flow of one peer."""

    peer: dict[str, Any]
    """Arguments of the peer's ``Model``."""
    latent_shape: tuple[int, int, int]
    classes: int
    shapes: dict[str, tuple[int, ...]]
    """Names and shapes of the peer's learned tensors (and ``var``)."""
    read: Callable[[Weights], Flow]
    """The peer's weights as our flow."""
    guided: dict[str, tuple[Guidance, dict[str, Any]]]
    """Our rule, and the arguments of the peer's ``reverse``."""

    def latents(self) -> Tensor:
        return 1.5 * wave((BATCH, *self.latent_shape), phase=0.1)

    def noise(self, flow: Flow) -> Tensor:
        return 1.2 * wave((BATCH, *flow.noise_shape), phase=0.2)

    def labels(self) -> Tensor:
        """Classes 0, 1, … or, without classes, no class."""
        return torch.arange(BATCH) % self.classes if self.classes else torch.full((BATCH,), -1)


def block_shapes(
    *, width: int, channels: int, tokens: int, outputs: int, layers: int
) -> dict[str, tuple[int, ...]]:
    """What a block of either peer has in any case."""
    shapes = {
        "proj_in.weight": (width, channels),
        "proj_in.bias": (width,),
        "proj_out.weight": (outputs, width),
        "proj_out.bias": (outputs,),
    }
    for layer in range(layers):
        prefix = f"attn_blocks.{layer}"
        for name, out, size in (
            ("attention.qkv", 3 * width, width),
            ("attention.proj", width, width),
            ("mlp.main.0", 4 * width, width),
            ("mlp.main.2", width, 4 * width),
        ):
            shapes |= {f"{prefix}.{name}.weight": (out, size), f"{prefix}.{name}.bias": (out,)}
        for name in ("attention.norm", "mlp.norm"):
            shapes |= {f"{prefix}.{name}.weight": (width,), f"{prefix}.{name}.bias": (width,)}
    return shapes


def tarflow(*, channels: int, size: int, patch: int, classes: int, scales: bool, guided: dict) -> Case:
    """Three blocks of two layers, two heads of 64."""
    width, tokens, numbers = 128, (size // patch) ** 2, channels * patch**2
    outputs = 2 * numbers if scales else numbers
    shapes: dict[str, tuple[int, ...]] = {} if scales else {"var": (tokens, numbers)}
    for block in range(3):
        own = block_shapes(width=width, channels=numbers, tokens=tokens, outputs=outputs, layers=2)
        own["pos_embed"] = (tokens, width)
        if classes:
            own["class_embed"] = (classes, 1, width)
        shapes |= {f"blocks.{block}.{name}": shape for name, shape in own.items()}
    return Case(
        peer={
            "in_channels": channels,
            "img_size": size,
            "patch_size": patch,
            "channels": width,
            "num_blocks": 3,
            "layers_per_block": 2,
            "nvp": scales,
            "num_classes": classes,
        },
        latent_shape=(channels, size, size),
        classes=classes,
        shapes=shapes,
        read=lambda weights: built_tarflow(with_var(weights, tokens, numbers)),
        guided=guided,
    )


def with_var(weights: Weights, tokens: int, numbers: int) -> Weights:
    """TarFlows with scales store a variance of ones."""
    return {"var": torch.ones(tokens, numbers)} | weights


def built_tarflow(weights: Weights) -> Flow:
    imported = from_tarflow(weights)
    flow = imported.config.build(latent_shape=imported.latent_shape, classes=imported.classes)
    flow.load_state_dict(imported.state)
    return flow.eval()


def log_scale(weight: float, what: str = "ab", annealed: bool = False, temperature: float = 1.0) -> tuple:
    """TarFlow's rule in our words and in the peer's."""
    ours = LogScale(
        weight=weight,
        what={"ab": "both", "a": "scale", "b": "shift"}[what],
        annealed=annealed,
        temperature=temperature,
    )
    return ours, {
        "guidance": weight,
        "guide_what": what,
        "annealed_guidance": annealed,
        "attn_temp": temperature,
    }


def starflow(
    *, classes: int, block: BlockConfig, first: str, labelled: str, guided: dict, **peer: Any
) -> Case:
    """Blocks of one, one and two layers on 3 x 3 latents of 4 channels, two heads of 64."""
    width, channels, depths = 128, 4, (1, 1, 2)
    shapes: dict[str, tuple[int, ...]] = {}
    for number, layers in enumerate(depths):
        own = block_shapes(width=width, channels=channels, tokens=9, outputs=2 * channels, layers=layers)
        if block.first_token == "learned":
            own["sos_embed"] = (1, 1, channels)
        if block.final_norm:
            own["final_norm.weight"] = (width,)
        if classes and (labelled == "all" or number == len(depths) - 1):
            own |= {"proj_txt.weight": (width, classes + 1), "proj_txt.bias": (width,)}
        shapes |= {f"blocks.{number}.{name}": shape for name, shape in own.items()}
    config = FlowConfig(depths=depths, block=block, first=first, labelled=labelled)

    def read(weights: Weights) -> Flow:
        flow = config.build(latent_shape=(channels, 3, 3), classes=classes)
        flow.load_state_dict(rename(weights))
        return flow.eval()

    return Case(
        peer={
            "in_channels": channels,
            "img_size": 3,
            "patch_size": 1,
            "channels": width,
            "num_blocks": len(depths),
            "layers_per_block": list(depths),
            "txt_size": int(classes > 0),
            "txt_dim": classes + 1 if classes else 0,
            "cond_top_only": labelled == "deep",
            "rope": True,
            "sos": block.first_token == "learned",
            "use_softplus": block.scale == "softplus",
            "use_final_norm": block.final_norm,
            "soft_clip": block.clip or 0,
            "seq_order": "R2L" if first == "raster" else "L2R",
        },
        latent_shape=(channels, 3, 3),
        classes=classes,
        shapes=shapes,
        read=read,
        guided=guided,
    )


def product(weight: float, blocks: str = "deep") -> tuple:
    """STARFlow's rule in our words and in the peer's."""
    guide = {"guidance": weight} | ({"guide_top": 1} if blocks == "deep" else {})
    return GaussianProduct(weight=weight, blocks=blocks), guide


STARFLOW_BLOCK = BlockConfig(
    width=128,
    heads=2,
    conditioning="prefix",
    first_token="learned",
    positions=Rotary(still=16),
    scale="softplus",
    clip=4.0,
    final_norm=True,
)

TARFLOW: dict[str, Case] = {
    "classes": tarflow(
        channels=3,
        size=6,
        patch=2,
        classes=4,
        scales=True,
        guided={
            "both": log_scale(0.7),
            "scale": log_scale(0.7, "a"),
            "shift": log_scale(0.7, "b"),
            "annealed": log_scale(1.1, annealed=True),
            "temperature": log_scale(0.6, temperature=1.5),
        },
    ),
    "no classes": tarflow(
        channels=1,
        size=8,
        patch=2,
        classes=0,
        scales=True,
        guided={
            "temperature": log_scale(0.8, temperature=0.5),
            "annealed temperature": log_scale(0.8, annealed=True, temperature=1.5),
        },
    ),
    "volume-preserving": tarflow(
        channels=3, size=6, patch=2, classes=4, scales=False, guided={"both": log_scale(0.7)}
    ),
}

STARFLOW: dict[str, Case] = {
    "classes": starflow(
        classes=4,
        block=STARFLOW_BLOCK,
        first="raster",
        labelled="all",
        guided={"deep": product(1.3), "strong": product(4.0), "all": product(0.6, "all")},
    ),
    "label in the deep block": starflow(
        classes=4, block=STARFLOW_BLOCK, first="reversed", labelled="deep", guided={"deep": product(1.3)}
    ),
    "no classes": starflow(
        classes=0,
        block=BlockConfig(
            width=128, heads=2, conditioning="prefix", first_token="learned", positions=Rotary(), scale="exp"
        ),
        first="raster",
        labelled="all",
        guided={},
    ),
    "first token unchanged": starflow(
        classes=4,
        block=BlockConfig(
            width=128, heads=2, conditioning="prefix", positions=Rotary(still=16), scale="softplus", clip=2.0
        ),
        first="raster",
        labelled="all",
        guided={"deep": product(1.3)},
    ),
}
