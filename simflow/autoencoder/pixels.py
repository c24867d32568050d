"""The autoencoder of pixel flows: the identity. The code of an image is the image."""

from dataclasses import dataclass

from torch import nn

from simflow.autoencoder.base import Autoencoder
from simflow.shapes import Code, Images, Latents


@dataclass(frozen=True, kw_only=True)
class PixelsConfig:
    """No autoencoder: the prior models the pixels themselves (TarFlow)."""

    def build(self, *, image_channels: int, moments: int) -> "Pixels":
        """The identity on images of ``image_channels`` channels."""
        if moments != 1:
            raise ValueError("pixels have no predicted variance: choose a posterior with one moment")
        return Pixels(image_channels)


class Pixels(Autoencoder):
    """The identity."""

    def __init__(self, image_channels: int) -> None:
        super().__init__()
        self.image_channels = image_channels

    def encode(self, images: Images) -> Code:
        return images

    def decode(self, latents: Latents) -> Images:
        return latents

    def latent_shape(self, image_size: int) -> tuple[int, int, int]:
        return self.image_channels, image_size, image_size

    def encoder_parts(self) -> tuple[nn.Module, ...]:
        return ()

    def decoder_parts(self) -> tuple[nn.Module, ...]:
        return ()
