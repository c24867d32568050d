"""Inception v3 as the FID knows it: the network of TensorFlow's 2015 release, not torchvision's.

It differs from other Inception v3 in four ways: average pools leave the padding out of the mean, the last block
(``Mixed_7c``) pools by maximum, there are 1008 classes, and images come to 299 px by TensorFlow 1's bilinear resize
without antialiasing, scaled as ``(x - 128) / 128``. Features are (Heusel et al. 2017; Dhariwal and Nichol 2021):

- *pool3*, 2048 numbers: means over the last 8 x 8 positions; for FID, KID, precision and recall;
- *spatial*, 2023 numbers: the first 7 channels of the first branch of ``Mixed_6d`` at its 17 x 17 positions (``h w c``
  order); for sFID (Nash et al. 2021) as in ADM's evaluator;
- *probabilities* of the 1008 classes by the last layer without its bias, as ADM's evaluator and torch-fidelity take
  them; for the inception score.

Weights are read from a file that the user names: a state dict under the names that pytorch-fid and torch-fidelity
publish (``pt_inception-2015-12-05-6726825d.pth``). The blocks are written as tables: a branch is a chain of
convolutions and pools, and the branches' results are joined.
"""

from pathlib import Path
from typing import Literal, NamedTuple, cast

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from simflow.evaluate.extractors import Extractor, Identity, Missing, Seen, fill, sha256_of_file
from simflow.evaluate.resize import TENSORFLOW1, colour, tensorflow1
from simflow.pixels import Bytes
from simflow.tensors import local_file, read_tensors

SIZE = 299
CLASSES = 1008
SPATIAL_CHANNELS = 7


class Step(NamedTuple):
    """A convolution with batch norm and ReLU. Strides of 1 keep the size; strides of 2 have no padding."""

    name: str
    width: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1


Pool = Literal["average", "maximum", "reduce"]
"""3 x 3: stride 1 by mean or maximum; or the maximum with stride 2 without padding."""

Branch = tuple[Step | Pool | tuple[Step, Step], ...]
"""A chain; a pair of steps at its end sees the same input, side by side."""


def _chain(name: str, *steps: tuple[int, int, int], stride: int = 1) -> Branch:
    """Steps ``name_1, name_2, ...`` of (width, kernel height, kernel width); the stride is the last one's."""
    last = len(steps)
    return tuple(
        Step(f"{name}_{number}", width, (high, wide), stride if number == last else 1)
        for number, (width, high, wide) in enumerate(steps, start=1)
    )


def _at_35(pooled: int) -> tuple[Branch, ...]:
    return (
        (Step("branch1x1", 64),),
        _chain("branch5x5", (48, 1, 1), (64, 5, 5)),
        _chain("branch3x3dbl", (64, 1, 1), (96, 3, 3), (96, 3, 3)),
        ("average", Step("branch_pool", pooled)),
    )


def _to_17() -> tuple[Branch, ...]:
    return (
        (Step("branch3x3", 384, (3, 3), 2),),
        _chain("branch3x3dbl", (64, 1, 1), (96, 3, 3), (96, 3, 3), stride=2),
        ("reduce",),
    )


def _at_17(w: int) -> tuple[Branch, ...]:
    return (
        (Step("branch1x1", 192),),
        _chain("branch7x7", (w, 1, 1), (w, 1, 7), (192, 7, 1)),
        _chain("branch7x7dbl", (w, 1, 1), (w, 7, 1), (w, 1, 7), (w, 7, 1), (192, 1, 7)),
        ("average", Step("branch_pool", 192)),
    )


def _to_8() -> tuple[Branch, ...]:
    return (
        _chain("branch3x3", (192, 1, 1), (320, 3, 3), stride=2),
        _chain("branch7x7x3", (192, 1, 1), (192, 1, 7), (192, 7, 1), (192, 3, 3), stride=2),
        ("reduce",),
    )


def _at_8(pool: Pool) -> tuple[Branch, ...]:
    def fork(name: str) -> tuple[Step, Step]:
        return Step(f"{name}a", 384, (1, 3)), Step(f"{name}b", 384, (3, 1))

    return (
        (Step("branch1x1", 320),),
        (Step("branch3x3_1", 384), fork("branch3x3_2")),
        (*_chain("branch3x3dbl", (448, 1, 1), (384, 3, 3)), fork("branch3x3dbl_3")),
        (pool, Step("branch_pool", 192)),
    )


STEM = (
    Step("Conv2d_1a_3x3", 32, (3, 3), 2),
    Step("Conv2d_2a_3x3", 32, (3, 3)),
    Step("Conv2d_2b_3x3", 64, (3, 3)),
    Step("Conv2d_3b_1x1", 80),
    Step("Conv2d_4a_3x3", 192, (3, 3)),
)
UNPADDED = ("Conv2d_2a_3x3", "Conv2d_4a_3x3")
REDUCED_AFTER = ("Conv2d_2b_3x3", "Conv2d_4a_3x3")

BLOCKS: dict[str, tuple[Branch, ...]] = {
    "Mixed_5b": _at_35(32),
    "Mixed_5c": _at_35(64),
    "Mixed_5d": _at_35(64),
    "Mixed_6a": _to_17(),
    "Mixed_6b": _at_17(128),
    "Mixed_6c": _at_17(160),
    "Mixed_6d": _at_17(160),
    "Mixed_6e": _at_17(192),
    "Mixed_7a": _to_8(),
    "Mixed_7b": _at_8("average"),
    "Mixed_7c": _at_8("maximum"),
}


class Convolution(nn.Module):
    """A step of the tables."""

    def __init__(self, channels: int, step: Step) -> None:
        super().__init__()
        padded = step.stride == 1 and step.name not in UNPADDED
        padding = (step.kernel[0] // 2, step.kernel[1] // 2) if padded else 0
        self.conv = nn.Conv2d(channels, step.width, step.kernel, step.stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(step.width, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class Mixed(nn.Module):
    """Branches side by side."""

    def __init__(self, channels: int, branches: tuple[Branch, ...]) -> None:
        super().__init__()
        self.branches = branches
        self.width = 0
        for branch in branches:
            width = channels
            for part in branch:
                if isinstance(part, str):
                    continue
                steps = [part] if isinstance(part, Step) else list(part)
                for step in steps:
                    self.add_module(step.name, Convolution(width, step))
                width = sum(step.width for step in steps)
            self.width += width

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self._walk(x, branch) for branch in self.branches], dim=1)

    def _walk(self, x: Tensor, branch: Branch) -> Tensor:
        for part in branch:
            if isinstance(part, str):
                x = _pooled(x, part)
            elif isinstance(part, Step):
                x = self.get_submodule(part.name)(x)
            else:
                x = torch.cat([self.get_submodule(step.name)(x) for step in part], dim=1)
        return x


class InceptionV3(nn.Module):
    """Images ``(b, 3, 299, 299)``, scaled, -> pool3, the spatial features and logits without bias."""

    def __init__(self) -> None:
        super().__init__()
        channels = 3
        for step in STEM:
            self.add_module(step.name, Convolution(channels, step))
            channels = step.width
        for name, branches in BLOCKS.items():
            block = Mixed(channels, branches)
            self.add_module(name, block)
            channels = block.width
        self.fc = nn.Linear(channels, CLASSES)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        for step in STEM:
            x = self.get_submodule(step.name)(x)
            if step.name in REDUCED_AFTER:
                x = F.max_pool2d(x, 3, stride=2)
        spatial = x
        for name in BLOCKS:
            x = self.get_submodule(name)(x)
            if name == "Mixed_6d":
                spatial = x[:, :SPATIAL_CHANNELS]
        pool3 = x.mean(dim=(2, 3))
        logits = pool3 @ cast(Tensor, self.fc.weight).T
        return pool3, rearrange(spatial, "b c h w -> b (h w c)"), logits


class Inception(Extractor):
    """The extractor of FID, sFID, KID and the inception score."""

    def __init__(self, network: InceptionV3, *, weights: str, sha256: str) -> None:
        super().__init__()
        self.network = network
        self.identity = Identity(
            name="inception",
            suffix="",
            network="Inception v3 (TensorFlow, 2015-12-05), pool3",
            dimension=2048,
            resize=TENSORFLOW1,
            size=SIZE,
            scaling="(x - 128) / 128",
            weights=weights,
            sha256=sha256,
        )
        self.eval().requires_grad_(requires_grad=False)

    @classmethod
    def from_file(cls, path: Path | None) -> "Inception":
        """With the weights of a file.

        Raises:
            Missing: no file is named.
            ValueError: there is no such file, or it holds other weights.
        """
        if path is None:
            raise Missing(
                "FID, sFID, KID and the inception score need the weights of Inception v3: name the file "
                "that pytorch-fid publishes (pt_inception-2015-12-05-6726825d.pth) as inception=FILE, "
                "or as inception=hub:OWNER/NAME/FILE"
            )
        file = local_file(path)
        tensors = read_tensors(file)
        network = InceptionV3()
        with torch.no_grad():
            fill(network, tensors, where=str(path))
        return cls(network, weights=path.name, sha256=sha256_of_file(file))

    def see(self, images: Bytes) -> Seen:
        scaled = (tensorflow1(colour(images), SIZE) - 128) / 128
        pool3, spatial, logits = self.network(scaled)
        return Seen(pool3, spatial, logits.softmax(dim=1))


def _pooled(x: Tensor, pool: Pool) -> Tensor:
    if pool == "average":
        return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
    if pool == "maximum":
        return F.max_pool2d(x, 3, stride=1, padding=1)
    return F.max_pool2d(x, 3, stride=2)
