"""The convolutional autoencoder of SimFlow, STARFlow and MAR: images in [-1, 1] <-> a code 16 times smaller.

    encode: images -> encoder -> 1x1 ``quant_conv`` -> mean [, log-variance] -> LayerNorm of the mean
    decode: latents -> 1x1 ``post_quant_conv`` -> decoder -> images

It is LDM's kl-f16 (Rombach et al. 2022) as MAR (Li et al. 2024) uses it: attention at the lowest level in the
encoder only. With 64 channels at 256 px this is SimFlow's 16 x 16 x 64 latent and its 67 M parameters.
Five levels make the factor 16; ``multipliers=(1, 2, 4, 4)`` without level attention is Stable Diffusion's f8.

How a mean-only encoder keeps the published weights usable
----------------------------------------------------------
LDM's encoder ends in ``2 c`` channels and its ``quant_conv`` mixes all of them, ``2 c -> 2 c``; the mean is
the first half of that convolution's *output*, not of its input. So with ``moments=1`` the encoder still ends
in ``2 c`` channels and only the log-variance rows of ``quant_conv`` are dropped, ``2 c -> c``: the mean of an
LDM checkpoint is then reproduced exactly. Parameters for 16, 32, 64 and 128 latent channels: 66 456 019,
66 681 123, 67 139 011 and 68 085 507 with two moments (MAR's own count), ``c (2 c + 1)`` fewer with one.
"""

from dataclasses import dataclass

from torch import nn

from simflow.autoencoder.base import Autoencoder, normalize_tokens
from simflow.autoencoder.decoder import Decoder
from simflow.autoencoder.encoder import Encoder
from simflow.shapes import Code, Images, Latents


@dataclass(frozen=True, kw_only=True)
class KLConfig:
    """Choices of :class:`KLAutoencoder`; the defaults are SimFlow's at 256 px."""

    latent_channels: int = 64
    """Channels ``c`` of a latent (Table 3 compares 16, 32, 64 and 128)."""
    width: int = 128
    """Channels of the first level."""
    multipliers: tuple[int, ...] = (1, 1, 2, 2, 4)
    """Width of every level in units of ``width``; each level after the first halves the side."""
    encoder_blocks: int = 2
    """Residual blocks of a level of the encoder; a level of the decoder has one more."""
    encoder_attention: bool = True
    """Attention after every block of the encoder's lowest level."""
    decoder_attention: bool = False
    """The same in the decoder: False in MAR and VA-VAE, True in LDM's own kl-f16."""
    normalize: bool = True
    """LayerNorm of every token of the mean (SimFlow, appendix B). False for published weights used frozen,
    whose decoder expects the mean as it is."""
    checkpointing: bool = False
    """Recompute every level in the backward pass: less memory, about a third more time."""

    def __post_init__(self) -> None:
        sizes = (
            self.latent_channels,
            self.width,
            self.encoder_blocks,
            len(self.multipliers),
            *self.multipliers,
        )
        if min(sizes) < 1:
            raise ValueError("an autoencoder needs at least one latent channel, channel, block and level")

    def build(self, *, image_channels: int, moments: int) -> "KLAutoencoder":
        """The module, with PyTorch's default initialisation.

        Args:
            image_channels: 3 for colour, 1 for grey.
            moments: what the posterior asks for: 1, the mean; 2, the mean and the log-variance.

        Raises:
            ValueError: ``moments`` is neither 1 nor 2.
        """
        return KLAutoencoder(self, image_channels=image_channels, moments=moments)


class KLAutoencoder(Autoencoder):
    """Images <-> code by convolutions and a little attention; see the module's text for the two moments."""

    def __init__(self, config: KLConfig, *, image_channels: int, moments: int) -> None:
        super().__init__()
        if moments not in (1, 2):
            raise ValueError(f"an encoder gives 1 moment (mean) or 2 (mean, log-variance), not {moments}")
        self.config = config
        channels = config.latent_channels
        self.encoder = Encoder(
            image_channels=image_channels,
            width=config.width,
            multipliers=config.multipliers,
            blocks=config.encoder_blocks,
            attention=config.encoder_attention,
            out_channels=2 * channels,
            checkpointing=config.checkpointing,
        )
        self.decoder = Decoder(
            image_channels=image_channels,
            width=config.width,
            multipliers=config.multipliers,
            blocks=config.encoder_blocks + 1,
            attention=config.decoder_attention,
            latent_channels=channels,
            checkpointing=config.checkpointing,
        )
        self.quant_conv = nn.Conv2d(2 * channels, moments * channels, 1)
        self.post_quant_conv = nn.Conv2d(channels, channels, 1)

    @property
    def factor(self) -> int:
        """Image side over latent side."""
        return 2 ** (len(self.config.multipliers) - 1)

    def encode(self, images: Images) -> Code:
        """Code ``(b, moments * c, height / factor, width / factor)`` of images in [-1, 1], mean first.

        Raises:
            ValueError: a side of the images is not a multiple of ``factor``.
        """
        height, width = images.shape[2:]
        self._check_sides(height, width)
        code = self.quant_conv(self.encoder(images))
        return normalize_tokens(code, self.config.latent_channels) if self.config.normalize else code

    def decode(self, latents: Latents) -> Images:
        """Images of latents ``(b, c, h, w)``, not clamped."""
        return self.decoder(self.post_quant_conv(latents))

    def latent_shape(self, image_size: int) -> tuple[int, int, int]:
        """``(c, h, w)`` of the latent of one ``image_size`` x ``image_size`` image.

        Raises:
            ValueError: the side is not a multiple of ``factor``.
        """
        self._check_sides(image_size, image_size)
        side = image_size // self.factor
        return self.config.latent_channels, side, side

    def encoder_parts(self) -> tuple[nn.Module, ...]:
        return self.encoder, self.quant_conv

    def decoder_parts(self) -> tuple[nn.Module, ...]:
        return self.decoder, self.post_quant_conv

    def ends(self) -> tuple[nn.Conv2d, nn.Conv2d]:
        return self.quant_conv, self.post_quant_conv

    def _check_sides(self, height: int, width: int) -> None:
        if height % self.factor or width % self.factor or min(height, width) < 1:
            raise ValueError(
                f"image sides must be multiples of {self.factor} for this autoencoder, not {height} x {width}"
            )
