"""A small, fast convolutional autoencoder for small images.

Pixels are folded into channels (``patch``), so that no convolution runs at full resolution; every further entry
of ``widths`` halves the grid. Residual blocks of GroupNorm, SiLU and 3x3 convolutions work at each level, more
of them in the decoder than in the encoder if asked. At 32 px, ``patch=4`` and two widths give 4 x 4 tokens.
"""

from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn

from simflow.autoencoder.base import Autoencoder, normalize_tokens
from simflow.bounds import at_least
from simflow.nn.conv import norm_silu
from simflow.shapes import Code, Images, Latents


@dataclass(frozen=True, kw_only=True)
class CompactConfig:
    """The small autoencoder; downsamples by ``patch * 2 ** (len(widths) - 1)``."""

    latent_channels: int = 16
    """Numbers in a latent position."""
    patch: int = 4
    """Side of the square of pixels folded into channels at the start."""
    widths: tuple[int, ...] = (64, 128)
    """Channels at each level, from the finest to the coarsest; multiples of 8."""
    encoder_blocks: int = 1
    """Residual blocks a level in the encoder."""
    decoder_blocks: int = 1
    """Residual blocks a level in the decoder."""
    normalize: bool = True
    """LayerNorm on the mean of every latent token (SimFlow, appendix B)."""

    def __post_init__(self) -> None:
        at_least(1, self, "model.autoencoder", "latent_channels", "patch", "widths")
        at_least(0, self, "model.autoencoder", "encoder_blocks", "decoder_blocks")
        if not self.widths or any(width % 8 for width in self.widths):
            raise ValueError(
                f"model.autoencoder.widths must be multiples of 8, one per level, not {list(self.widths)}"
            )

    def build(self, *, image_channels: int, moments: int) -> "CompactAutoencoder":
        """The autoencoder for images of ``image_channels`` channels and a posterior of ``moments`` moments."""
        return CompactAutoencoder(self, image_channels=image_channels, moments=moments)


class Residual(nn.Module):
    """``x + conv(silu(norm(conv(silu(norm(x))))))``; begins as the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(8, width), nn.GroupNorm(8, width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(norm_silu(self.norm1, x))
        return x + self.conv2(norm_silu(self.norm2, h))


def level(width: int, blocks: int) -> nn.Sequential:
    """``blocks`` residual blocks of one width."""
    return nn.Sequential(*(Residual(width) for _ in range(blocks)))


class CompactAutoencoder(Autoencoder):
    """Images of any side that ``patch * 2 ** (levels - 1)`` divides <-> codes."""

    def __init__(self, config: CompactConfig, *, image_channels: int, moments: int) -> None:
        super().__init__()
        self.config = config
        self.factor = config.patch * 2 ** (len(config.widths) - 1)
        folded, widths = image_channels * config.patch**2, config.widths
        down: list[nn.Module] = [nn.PixelUnshuffle(config.patch), nn.Conv2d(folded, widths[0], 3, padding=1)]
        for fine, coarse in pairwise(widths):
            down += [level(fine, config.encoder_blocks), nn.Conv2d(fine, coarse, 3, stride=2, padding=1)]
        last = nn.Conv2d(widths[-1], moments * config.latent_channels, 1)
        down += [level(widths[-1], config.encoder_blocks), nn.GroupNorm(8, widths[-1]), nn.SiLU(), last]
        self.encoder = nn.Sequential(*down)

        up: list[nn.Module] = [nn.Conv2d(config.latent_channels, widths[-1], 3, padding=1)]
        for coarse, fine in pairwise(widths[::-1]):
            up += [level(coarse, config.decoder_blocks), nn.Conv2d(coarse, 4 * fine, 1), nn.PixelShuffle(2)]
        head = nn.Conv2d(widths[0], folded, 3, padding=1)
        up += [level(widths[0], config.decoder_blocks), nn.GroupNorm(8, widths[0]), nn.SiLU(), head]
        up += [nn.PixelShuffle(config.patch)]
        self.decoder = nn.Sequential(*up)

    def encode(self, images: Images) -> Code:
        code = self.encoder(images)
        return normalize_tokens(code, self.config.latent_channels) if self.config.normalize else code

    def decode(self, latents: Latents) -> Images:
        return self.decoder(latents)

    def latent_shape(self, image_size: int) -> tuple[int, int, int]:
        if image_size % self.factor:
            raise ValueError(f"an image side of {image_size} is not a multiple of {self.factor}")
        side = image_size // self.factor
        return self.config.latent_channels, side, side

    def encoder_parts(self) -> tuple[nn.Module, ...]:
        return (self.encoder,)

    def decoder_parts(self) -> tuple[nn.Module, ...]:
        return (self.decoder,)

    def ends(self) -> tuple[nn.Conv2d, nn.Conv2d]:
        last, first = self.encoder[-1], self.decoder[0]
        assert isinstance(last, nn.Conv2d)
        assert isinstance(first, nn.Conv2d)
        return last, first
