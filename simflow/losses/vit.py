"""DINOv2 (Oquab et al. 2023), a vision transformer on patches of 14 px: the frozen eye of representation alignment,
one of those of FD-loss, and a judge of samples (:mod:`simflow.evaluate.dino`).

Images in [-1, 1] are brought to ImageNet's mean and standard deviation, resized, cut into patches and read after a
chosen block, or after the last one and the final norm. The class token helps the others; only the judge reads it::

    patches + positions, class token in front -> blocks: x + g1 attention(norm x), x + g2 mlp(norm x) -> norm

Weights are read from a file or folder, under the names of the original code or of transformers, or fetched from the
Hugging Face hub; the sizes (small 384, base 768, large 1024 wide) are read off the weights. Nothing of either
library is needed. The giant, whose MLP is another one, and the models with registers are not read.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from simflow import hub
from simflow.files import at_home
from simflow.losses.frozen import Frozen, as_colour
from simflow.nn.attention import Attention
from simflow.nn.transformer import Mlp
from simflow.shapes import Images, Tokens
from simflow.tensors import misfit, read_tensors

FeatureMap = Float[Tensor, "b features rows columns"]

PATCH = 14
"""Side of a patch in pixels."""

TRANSFORMERS_NAMES = (
    (r"embeddings\.(cls_token)", r"\1"),
    (r"embeddings\.position_embeddings", "pos_embed"),
    (r"embeddings\.patch_embeddings\.projection", "patch_embed.proj"),
    (r"encoder\.layer\.", "blocks."),
    (r"attention\.attention\.", "attn."),
    (r"attention\.output\.dense", "attn.proj"),
    (r"layer_scale(\d)\.lambda1", r"ls\1.gamma"),
    (r"layernorm\.", "norm."),
)
"""Names of transformers, and the original ones."""


@dataclass(frozen=True, kw_only=True)
class DinoV2:
    """A DINOv2 of 14-pixel patches."""

    source: str = "facebook/dinov2-base"
    """A weights file (.pth, .safetensors), a folder that transformers saved, or ``owner/name`` on the hub."""
    block: int | None = None
    """Block whose tokens are read, counted from 1; null: the last one, and the final norm after it."""
    side: int | None = None
    """Side in pixels to which images are resized, a multiple of 14; null: 14 for each token to be aligned."""

    def __post_init__(self) -> None:
        if self.side is not None and (self.side < PATCH or self.side % PATCH):
            raise ValueError(f"DINOv2 needs a side that is a multiple of {PATCH}, not {self.side}")

    def build(self, setting: str) -> "VisionTransformer":
        """The network with its weights, frozen, on the CPU in float32. ``setting`` is where this stands in a run's.

        Raises:
            ValueError: there are no such weights, they are not of DINOv2, or they have fewer blocks.
        """
        try:
            return pretrained(self.source, block=self.block, side=self.side)
        except hub.OutOfReach as error:
            raise ValueError(f"{error}: name a file or a folder with --{setting}.source") from error


def pretrained(source: str, *, block: int | None = None, side: int | None = None) -> "VisionTransformer":
    """A network with its weights, frozen, on the CPU in float32; arguments as for :class:`DinoV2`.

    Raises:
        hub.OutOfReach: the hub is asked for the weights and gives none.
        ValueError: there are no such weights, they are not of DINOv2, or they have fewer blocks.
    """
    file = weights_of(source)
    state = original_names(read_tensors(file))
    if "pos_embed" not in state or "blocks.0.ls1.gamma" not in state:
        raise ValueError(f"{file} is not of a DINOv2: it lacks 'pos_embed' or 'blocks.0.ls1.gamma'")
    width, positions = state["pos_embed"].shape[-1], state["pos_embed"].shape[1] - 1
    layers = 1 + max(int(match[1]) for name in state if (match := re.match(r"blocks\.(\d+)\.", name)))
    if block is not None and not 1 <= block <= layers:
        raise ValueError(f"the DINOv2 in {file} has {layers} blocks, so there is no block {block}")
    network = VisionTransformer(width=width, layers=layers, positions=positions, block=block, side=side)
    own = network.state_dict()
    wrong = misfit({name: tensor for name, tensor in state.items() if name in own}, own)
    if wrong is not None:
        raise ValueError(f"{file} is not of a DINOv2 that can be read: {wrong}")
    network.load_state_dict({name: state[name].float() for name in own})
    network.freeze()
    return network


class LayerScale(nn.Module):
    """A learned factor for every channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.gamma * x


class TransformerBlock(nn.Module):
    """Pre-norm attention and MLP, each scaled by channel; the names of its parts are those of the weights."""

    def __init__(self, *, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width=width, heads=heads, causal=False)
        self.mlp = Mlp(width=width, ratio=4)
        self.ls1, self.ls2 = LayerScale(width), LayerScale(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class PatchEmbed(nn.Module):
    """Squares of 14 x 14 pixels -> tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, PATCH, stride=PATCH)

    def forward(self, images: Images) -> FeatureMap:
        return self.proj(images)


class VisionTransformer(Frozen):
    """See the module's text. ``width`` is the number of features."""

    mean: Tensor
    std: Tensor

    def __init__(
        self, *, width: int, layers: int, positions: int, block: int | None, side: int | None
    ) -> None:
        super().__init__()
        self.width, self.block, self.side = width, block, side
        self.patch_embed = PatchEmbed(width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, positions + 1, width))
        self.blocks = nn.ModuleList(TransformerBlock(width=width, heads=width // 64) for _ in range(layers))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        for name, values in (("mean", (0.485, 0.456, 0.406)), ("std", (0.229, 0.224, 0.225))):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)

    def features(self, images: Images, grid: tuple[int, int]) -> FeatureMap:
        """Features of images in [-1, 1], ``(b, width, rows, columns)``; ``grid`` is what they will be aligned to.

        Without a ``side`` the images are resized to 14 pixels for each token of the grid, so 256 px with 16 x 16
        tokens become 224 px, and 512 px with 32 x 32 tokens 448 px, as in REPA.
        """
        size = (PATCH * grid[0], PATCH * grid[1]) if self.side is None else (self.side, self.side)
        x = self.normalised((as_colour(images) + 1) / 2)
        tokens = self.tokens(F.interpolate(x, size=size, mode="bicubic"))
        return rearrange(tokens[:, 1:], "b (rows columns) d -> b d rows columns", rows=size[0] // PATCH)

    def normalised(self, images: Images) -> Images:
        """Colour images in [0, 1], by ImageNet's mean and standard deviation."""
        return (images - self.mean) / self.std

    def tokens(self, images: Images) -> Tokens:
        """Normalised images, sides multiples of 14 -> tokens, that of the class first, then in raster order."""
        patches = self.patch_embed(images)
        rows, columns = patches.shape[2:]
        tokens = rearrange(patches, "b d rows columns -> b (rows columns) d")
        x = torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1)
        x = x + self.positions(rows, columns)
        blocks = cast("list[TransformerBlock]", list(self.blocks))
        for block in blocks[: self.block]:
            x = block(x)
        return self.norm(x) if self.block is None else x

    def positions(self, rows: int, columns: int) -> Tensor:
        """The table of positions ``(1, 1 + rows * columns, width)``, interpolated where the grid is another."""
        first, rest = self.pos_embed[:, :1], self.pos_embed[:, 1:]
        side = round(rest.shape[1] ** 0.5)
        if (side, side) == (rows, columns):
            return self.pos_embed
        table = rearrange(rest, "one (rows columns) d -> one d rows columns", rows=side)
        table = F.interpolate(table.float(), size=(rows, columns), mode="bicubic")
        return torch.cat([first, rearrange(table, "one d rows columns -> one (rows columns) d")], dim=1)


def original_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of transformers' ``Dinov2Model`` under the original names; others stay as they are."""
    renamed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        for pattern, replacement in TRANSFORMERS_NAMES:
            name = re.sub(pattern, replacement, name.removeprefix("dinov2."))
        renamed[name.replace("mlp.fc1.", "mlp.0.").replace("mlp.fc2.", "mlp.2.")] = tensor
    for name in [name for name in renamed if ".attn.query." in name]:
        parts = [renamed.pop(name.replace("query", part)) for part in ("query", "key", "value")]
        renamed[name.replace("query", "qkv")] = torch.cat(parts)
    return renamed


def weights_of(source: str) -> Path:
    """The file of weights that a file, a folder or a hub id means.

    Raises:
        hub.OutOfReach: the hub gives none.
    """
    path = at_home(source)
    if path.is_dir():
        return path / "model.safetensors"
    if path.is_file() or not hub.ID.fullmatch(source):
        return path
    try:
        return hub.file(source, "model.safetensors")
    except hub.OutOfReach as error:
        raise hub.OutOfReach(
            f"there are no weights '{source}' here, and the hub gave none: {error}"
        ) from error
