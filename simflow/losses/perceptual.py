"""The distance of two images as a trained network sees it: LPIPS (Zhang et al. 2018), and one of its form.

The features of both images are read at several depths and every position is scaled to unit length across its
channels. The squared difference is weighted by channel, averaged over positions, and summed over depths::

    d(a, b) = sum_l mean_ij sum_c w_lc (f_lcij(a) - f_lcij(b))^2,      f = features / (|features| + 1e-10)

The weights ``w_l >= 0`` are the published linear heads, fitted to human judgements. Two networks:

- :class:`VGG16Distance` is LPIPS itself with VGG16, the usual perceptual loss of autoencoders, from weight files
  that the user names: the network is not on any package index.
- :class:`SqueezeNetDistance` comes with the package (SqueezeNet 1.1, 1.5 MB) and needs no download. It is
  *LPIPS-style*: its heads were fitted to another training of the same network than its weights come from, so its
  numbers are not LPIPS's. It grows with noise, blur, JPEG and shift as LPIPS does.

Never judge a model by the distance that it was trained with.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import load
from torch import Tensor, nn

from simflow.bounds import not_negative
from simflow.files import at_home
from simflow.losses.backbones import VGG16, Backbone, SqueezeNet11
from simflow.losses.frozen import Frozen
from simflow.pixels import require_signed
from simflow.shapes import Images, PerImage
from simflow.tensors import misfit, read_tensors

VGG16_CONVS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
"""Numbers of VGG16's convolutions in the layer list of the published weights."""


@dataclass(frozen=True, kw_only=True)
class SqueezeNetDistance:
    """LPIPS-style distance by the embedded SqueezeNet 1.1."""

    weight: float = 1.0
    """Weight in the loss."""

    def __post_init__(self) -> None:
        not_negative(self, "objective.perceptual", "weight")

    def build(self) -> "Perceptual":
        """The distance with its weights, on the CPU in float32."""
        embedded = files("simflow.losses").joinpath("weights", "squeezenet.safetensors").read_bytes()
        distance = Perceptual(SqueezeNet11())
        distance.load_state_dict({name: tensor.float() for name, tensor in load(embedded).items()})
        return distance


@dataclass(frozen=True, kw_only=True)
class VGG16Distance:
    """LPIPS with VGG16."""

    weight: float = 1.0
    """Weight in the loss."""
    weights: str
    """File of VGG16's convolutions under torchvision's names (``features.0.weight``), or of a whole LPIPS."""
    heads: str | None = None
    """File of the linear heads, such as ``vgg.pth`` of the lpips package (version 0.1); null if they are in
    ``weights``."""

    def __post_init__(self) -> None:
        not_negative(self, "objective.perceptual", "weight")

    def build(self) -> "Perceptual":
        """The distance with its weights, on the CPU in float32.

        Raises:
            ValueError: a file is missing, damaged, or lacks a tensor.
        """
        heads = None if self.heads is None else Path(self.heads)
        return from_files(VGG16(), VGG16_CONVS, weights=Path(self.weights), heads=heads)


class Perceptual(Frozen):
    """The distance of images by a backbone and its heads; see the module's text."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.heads = nn.ParameterList(torch.zeros(width) for width in backbone.WIDTHS)
        self.freeze()

    def forward(self, images: Images, decoded: Images) -> PerImage:
        """Distance ``(b,)`` of images to their reconstructions, in float32, for training.

        Args:
            images: in [-1, 1], of one or three channels; not checked, for that would wait for the device.
            decoded: meant to be in [-1, 1], but may overshoot, as reconstructions do.

        Raises:
            ValueError: the images are too small for the network.
        """
        smallest = self.backbone.SMALLEST
        if min(images.shape[2:]) < smallest:
            raise ValueError(f"this perceptual distance needs images of {smallest} px at least")
        distance = torch.zeros(len(images), device=images.device)
        pairs = zip(self.backbone(images), self.backbone(decoded), self.weights(), strict=True)
        for first, second, weights in pairs:
            difference = (unit(first) - unit(second)).square() * weights[:, None, None]
            distance = distance + difference.sum(dim=1).mean(dim=(1, 2))
        return distance

    @torch.no_grad()
    def distance(self, first: Images, second: Images) -> PerImage:
        """Distance ``(b,)`` of two batches, for measuring.

        Raises:
            ValueError: a value lies outside [-1, 1], or the images are too small.
        """
        return self(require_signed(first), require_signed(second))

    def weights(self) -> list[Tensor]:
        """The weight of every channel at each depth."""
        return cast("list[Tensor]", list(self.heads))


def unit(features: Tensor) -> Tensor:
    """Features of unit length at every position, in float32; where all are zero they stay so, and so do gradients."""
    features = features.float()
    return features / (torch.linalg.vector_norm(features, dim=1, keepdim=True) + 1e-10)


def from_files(
    backbone: Backbone, numbers: Sequence[int], *, weights: Path, heads: Path | None
) -> Perceptual:
    """LPIPS by a network of convolutions in a row, ``backbone.convs``, on the CPU in float32.

    Args:
        backbone: with any weights.
        numbers: of its convolutions in the layer list of the published weights.
        weights: file of the convolutions under torchvision's names (``features.0.weight``), or of a whole LPIPS.
        heads: file of the linear heads; None if they are in ``weights``.

    Raises:
        ValueError: a file is missing, damaged, or lacks a tensor.
    """
    file, heads_file = at_home(weights), at_home(heads or weights)
    found = read_tensors(file)
    found_heads = found if heads is None else read_tensors(heads_file)
    distance, state = Perceptual(backbone), {}
    for own, published in enumerate(numbers):
        for kind in ("weight", "bias"):
            pattern = rf"(.*\.)?(features|slice\d)\.{published}\.{kind}"
            state[f"backbone.convs.{own}.{kind}"] = only(found, pattern, f"features.{published}.{kind}", file)
    for number in range(len(backbone.WIDTHS)):
        pattern = rf"(.*\.)?lin{number}\.model\.\d\.weight"
        head = only(found_heads, pattern, f"lin{number}.model.1.weight", heads_file)
        state[f"heads.{number}"] = head.flatten()
    wrong = misfit(state, distance.state_dict())
    if wrong is not None:
        raise ValueError(f"{file} is not of {type(backbone).__name__}: {wrong}")
    distance.load_state_dict(state)
    return distance


def only(found: dict[str, Tensor], pattern: str, wanted: str, path: Path) -> Tensor:
    """The tensor whose name matches; of several, which are copies of one in published files, the first."""
    for name, tensor in found.items():
        if re.fullmatch(pattern, name):
            return tensor.float()
    raise ValueError(f"{path} has no '{wanted}'")
