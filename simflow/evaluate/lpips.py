"""Perceptual distances for judging reconstructions: LPIPS with VGG16 or AlexNet from files, or the embedded one.

The distance itself is :mod:`simflow.losses.perceptual`'s; here it is chosen by a word and given an identity. AlexNet
(Krizhevsky 2014's one column, as LPIPS reads it after its five ReLUs) is what papers mean by "LPIPS" where they say
nothing else; VGG16 is what autoencoders are trained with. The embedded SqueezeNet is *LPIPS-style* and says so in its
name. Never judge a model by the distance that it was trained with.
"""

from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from simflow.evaluate.extractors import Missing
from simflow.losses.backbones import Backbone
from simflow.losses.frozen import as_colour
from simflow.losses.perceptual import Perceptual, SqueezeNetDistance, VGG16Distance, from_files
from simflow.shapes import Images
from simflow.tensors import sha256_of_tensors

Kind = Literal["squeezenet", "vgg", "alex", "none"]

ALEXNET_CONVS = (0, 3, 6, 8, 10)
"""Numbers of AlexNet's convolutions in the layer list of the published weights."""


class AlexNet(Backbone):
    """The five convolutions of AlexNet, read after each ReLU."""

    WIDTHS = (64, 192, 384, 256, 256)
    SMALLEST = 31

    def __init__(self) -> None:
        super().__init__()
        shapes = ((3, 64, 11, 4, 2), (64, 192, 5, 1, 2), (192, 384, 3, 1, 1), (384, 256, 3, 1, 1))
        self.convs = nn.ModuleList(
            nn.Conv2d(channels, width, kernel, stride, padding)
            for channels, width, kernel, stride, padding in (*shapes, (256, 256, 3, 1, 1))
        )
        # As for VGG16: ImageNet's mean and deviation for images in [-1, 1], with the digits that LPIPS has.
        self.register_buffer("mean", torch.tensor([-0.030, -0.088, -0.188])[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor([0.458, 0.448, 0.450])[:, None, None], persistent=False)

    def forward(self, images: Images, maps: int | None = None) -> list[Tensor]:
        x = (as_colour(images) - self.mean) / self.std
        features = []
        for number, conv in enumerate(self.convs[:maps]):
            x = F.relu(conv(F.max_pool2d(x, 3, stride=2) if number in (1, 2) else x))
            features.append(x)
        return features


class Judge(NamedTuple):
    """A distance and what to call it."""

    name: str
    distance: Perceptual
    identity: dict[str, Any]


def judge(kind: Kind, *, weights: Path | None = None, heads: Path | None = None) -> Judge | None:
    """The distance of a word, or None for ``none``.

    Args:
        kind: which.
        weights: file of the network's convolutions under torchvision's names, or of a whole LPIPS.
        heads: file of the linear heads, such as ``alex.pth`` of the lpips package, if not in ``weights``.

    Raises:
        Missing: the word needs files, and none is named.
        ValueError: a file is missing or holds something else.
    """
    if kind == "none":
        return None
    if kind == "squeezenet":
        return _named("LPIPS-style (SqueezeNet)", SqueezeNetDistance().build(), "embedded")
    if weights is None:
        raise Missing(
            f"LPIPS by {kind} needs its weights: name the files with --lpips-weights and --lpips-heads"
        )
    if kind == "vgg":
        config = VGG16Distance(weights=str(weights), heads=None if heads is None else str(heads))
        return _named("LPIPS (VGG16)", config.build(), weights.name)
    distance = from_files(AlexNet(), ALEXNET_CONVS, weights=weights, heads=heads)
    return _named("LPIPS (AlexNet)", distance, weights.name)


def _named(name: str, distance: Perceptual, weights: str) -> Judge:
    identity = {
        "network": type(distance.backbone).__name__,
        "weights": weights,
        "sha256": sha256_of_tensors(distance.state_dict()),
        "resize": "none",
    }
    return Judge(name, distance, identity)
