"""Two classifiers without their heads, giving what they see at several depths: images in [-1, 1] -> feature maps.

SqueezeNet 1.1 (Iandola et al. 2016) has 0.7 M parameters here, VGG16 (Simonyan and Zisserman 2014) 14.7 M. Each
prepares images as it was trained to see them: SqueezeNet the Caffe way, blue-green-red in 0..255 minus the mean
of ImageNet; VGG16 red-green-blue in multiples of ImageNet's standard deviation. The layers that are read are those
of LPIPS (Zhang et al. 2018): after each of the ReLU stages that ``TAPS`` and ``WIDTHS`` list.

The networks know nothing of distances.
"""

from abc import abstractmethod
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from simflow.losses.frozen import Frozen, as_colour
from simflow.shapes import Images


class Backbone(Frozen):
    """Images in [-1, 1] -> feature maps, one for each entry of ``WIDTHS``."""

    WIDTHS: ClassVar[tuple[int, ...]]
    """Channels of the feature maps."""
    SMALLEST: ClassVar[int]
    """Least side of an image, in pixels."""

    mean: Tensor
    std: Tensor

    @abstractmethod
    def forward(self, images: Images, maps: int | None = None) -> list[Tensor]:
        """The first ``maps`` feature maps, or all, each ``(b, channels, rows, columns)``, of gray or colour images."""


class Fire(nn.Module):
    """SqueezeNet's module: 1x1 convolution to few channels, then 1x1 and 3x3 side by side."""

    def __init__(self, channels: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.expand1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        squeezed = F.relu(self.squeeze(x))
        return torch.cat([F.relu(self.expand1(squeezed)), F.relu(self.expand3(squeezed))], dim=1)


class SqueezeNet11(Backbone):
    """SqueezeNet 1.1, read after its first convolution and after six of its eight fire modules."""

    WIDTHS = (64, 128, 256, 384, 384, 512, 512)
    SMALLEST = 17
    TAPS: ClassVar[tuple[int, ...]] = (3, 5, 6, 7, 8, 9)
    """Fire modules after which features are read, numbered from 2 as published."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, stride=2)
        sizes = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))
        channels = 64
        for number, (squeezed, expanded) in enumerate(sizes, start=2):
            self.add_module(f"fire{number}", Fire(channels, squeezed, expanded))
            channels = 2 * expanded
        self.register_buffer("mean", torch.tensor([104.0, 117.0, 123.0])[:, None, None], persistent=False)

    def forward(self, images: Images, maps: int | None = None) -> list[Tensor]:
        x = 127.5 * (as_colour(images).flip(1) + 1) - self.mean
        x = F.relu(self.conv1(x))
        features = [x]
        for number in range(2, 10):
            if len(features) == maps:
                break
            if number in (2, 4, 6):
                x = F.max_pool2d(x, 3, stride=2, ceil_mode=True)
            x = self.get_submodule(f"fire{number}")(x)
            if number in self.TAPS:
                features.append(x)
        return features


class VGG16(Backbone):
    """The thirteen convolutions of VGG16, read at the end of each of its five stages."""

    WIDTHS = (64, 128, 256, 512, 512)
    SMALLEST = 16
    STAGES: ClassVar[tuple[int, ...]] = (2, 2, 3, 3, 3)
    """Convolutions of each stage; a 2x2 max pooling stands between stages."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList()
        channels = 3
        for width, number in zip(self.WIDTHS, self.STAGES, strict=True):
            for _ in range(number):
                self.convs.append(nn.Conv2d(channels, width, 3, padding=1))
                channels = width
        # ImageNet's mean and standard deviation for images in [-1, 1], with the digits that LPIPS has.
        self.register_buffer("mean", torch.tensor([-0.030, -0.088, -0.188])[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor([0.458, 0.448, 0.450])[:, None, None], persistent=False)

    def forward(self, images: Images, maps: int | None = None) -> list[Tensor]:
        x = (as_colour(images) - self.mean) / self.std
        convs, features = iter(cast("list[nn.Conv2d]", list(self.convs))), []
        for stage, number in enumerate(self.STAGES[:maps]):
            x = F.max_pool2d(x, 2) if stage else x
            for _ in range(number):
                x = F.relu(next(convs)(x))
            features.append(x)
        return features
