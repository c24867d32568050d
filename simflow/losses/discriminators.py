"""The two networks behind the adversarial term: images in [-1, 1] -> maps of logits, one logit for each patch.

- :class:`PatchNetwork` is the PatchGAN of Isola et al. 2017, convolutions on pixels: the usual judge.
- :class:`FeatureNetwork` looks through a trained classifier that stands still, and learns small heads on its feature
  maps alone (Projected GANs, Sauer et al. 2021). It starts from features that tell textures apart, so the game is
  steady and pays within a thousand steps, where a network of one's own cannot see yet, or has already won.

A judge that was trained on ImageNet pulls towards what such networks see, and the usual Fréchet distances are such
networks' (Kynkäänniemi et al. 2022): measure with another network than the one that taught, and look at the pictures.
"""

import math
from dataclasses import dataclass
from typing import Literal, cast

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from simflow.bounds import at_least
from simflow.losses.backbones import SqueezeNet11
from simflow.losses.perceptual import SqueezeNetDistance
from simflow.shapes import Images

Logits = list[Float[Tensor, "b 1 _ _"]]
"""Maps of logits; each map counts as much as another."""


@dataclass(frozen=True, kw_only=True)
class PatchNetwork:
    """Convolutions of 4 x 4 on pixels, most of them of stride 2.

    The published network has BatchNorm, which sees images and reconstructions apart or mixed depending on how batches
    are cut, and differs between processes and between one batch and its parts. GroupNorm belongs to one image: what is
    said of it depends on nothing else, so accumulation and several processes change nothing.
    """

    filters: int = 64
    """Channels of the first layer; each further one doubles them, up to eight times."""
    layers: int = 3
    """Layers of stride 2; three see patches of 70 pixels."""
    norm: Literal["group", "none"] = "group"
    """GroupNorm after all convolutions but the first and the last, or none."""

    def __post_init__(self) -> None:
        at_least(1, self, "objective.adversarial.network", "filters", "layers")

    def build(self, *, image_channels: int, image_size: int) -> "Patches":
        """The network, freshly initialised from torch's global generator.

        Raises:
            ValueError: the images are too small for so many layers.
        """
        smallest = 3 * 2**self.layers
        if image_size < smallest:
            raise ValueError(
                f"a discriminator of {self.layers} layers needs images of {smallest} px at least, not {image_size}"
            )
        return Patches(self, image_channels=image_channels)


@dataclass(frozen=True, kw_only=True)
class FeatureNetwork:
    """Heads on the first feature maps of the SqueezeNet 1.1 that comes with the package."""

    width: int = 64
    """Channels of a head."""
    maps: int = 3
    """Feature maps that are looked at, of seven; each is coarser than the one before or sees further."""

    def __post_init__(self) -> None:
        at_least(1, self, "objective.adversarial.network", "width")
        if not 1 <= self.maps <= len(SqueezeNet11.WIDTHS):
            raise ValueError(
                f"SqueezeNet has {len(SqueezeNet11.WIDTHS)} feature maps to look at, not {self.maps}"
            )

    def build(self, *, image_channels: int, image_size: int) -> "Features":
        """The network, its heads freshly initialised from torch's global generator; it takes gray and colour.

        Raises:
            ValueError: the images are too small for SqueezeNet.
        """
        del image_channels
        smallest = SqueezeNet11.SMALLEST
        if image_size < smallest:
            raise ValueError(
                f"a discriminator on features needs images of {smallest} px at least, not {image_size}"
            )
        return Features(self)


class Patches(nn.Sequential):
    """Images in [-1, 1] -> a logit for each of overlapping patches."""

    def __init__(self, config: PatchNetwork, *, image_channels: int) -> None:
        widths = [config.filters * min(2**layer, 8) for layer in range(config.layers + 1)]
        parts: list[nn.Module] = [nn.Conv2d(image_channels, widths[0], 4, stride=2, padding=1)]
        for layer in range(1, config.layers + 1):
            stride = 2 if layer < config.layers else 1
            parts += [
                nn.LeakyReLU(0.2),
                nn.Conv2d(widths[layer - 1], widths[layer], 4, stride=stride, padding=1),
            ]
            if config.norm == "group":
                parts.append(nn.GroupNorm(math.gcd(widths[layer], 32), widths[layer]))
        super().__init__(*parts, nn.LeakyReLU(0.2), nn.Conv2d(widths[-1], 1, 4, padding=1))
        for part in self:
            if isinstance(part, nn.Conv2d):
                nn.init.normal_(part.weight, std=0.02)
                assert part.bias is not None
                nn.init.zeros_(part.bias)

    def forward(self, input: Images) -> Logits:
        return [super().forward(input)]


class Features(nn.Module):
    """Images in [-1, 1] -> logits at every place of several feature maps of a network that stands still.

    The features of an image are scaled to a root mean square of one, map by map, so what is said of it depends on no
    other image. Each layer of the heads has spectral norm one (Miyato et al. 2018).
    """

    def __init__(self, config: FeatureNetwork) -> None:
        super().__init__()
        self.maps = config.maps
        self.backbone = SqueezeNetDistance().build().backbone
        self.heads = nn.ModuleList(
            head(channels, config.width) for channels in SqueezeNet11.WIDTHS[: config.maps]
        )

    def forward(self, images: Images) -> Logits:
        seen = self.backbone(images, self.maps)
        scaled = (features / (rms(features) + 1e-6) for features in seen)
        return [cast("Tensor", judge(each)) for judge, each in zip(self.heads, scaled, strict=True)]


def head(channels: int, width: int) -> nn.Sequential:
    """Feature maps -> logits: what a place says of itself and its neighbours."""
    return nn.Sequential(
        spectral_norm(nn.Conv2d(channels, width, 1)),
        nn.LeakyReLU(0.2),
        spectral_norm(nn.Conv2d(width, width, 3, padding=1)),
        nn.LeakyReLU(0.2),
        spectral_norm(nn.Conv2d(width, 1, 1)),
    )


def rms(features: Tensor) -> Tensor:
    """Root mean square of each image's features, ``(b, 1, 1, 1)``."""
    return features.float().square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
