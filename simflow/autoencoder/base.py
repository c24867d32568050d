"""The first slot: image <-> code.

An autoencoder turns images in [-1, 1] into a spatial code and latents back into images. It does not know
what noise the code receives (:mod:`simflow.posterior`) nor what models the latents (:mod:`simflow.prior`).
The posterior says how many numbers it needs for each latent channel (``moments``: 1 for a mean, 2 for a mean
and a log-variance); the encoder then gives ``moments * latent channels`` channels, means first.
"""

from abc import ABC, abstractmethod

import torch
from torch import nn
from torch.nn import functional as F

from simflow.shapes import Code, Images, Latents


class Autoencoder(nn.Module, ABC):
    """Image <-> code.

    To write one: a frozen keyword-only config with ``build(*, image_channels, moments)``, and a class with

    - ``encode``: images ``(b, channels, height, width)`` in [-1, 1] -> code ``(b, m, h, w)``;
    - ``decode``: latents ``(b, c, h, w)`` -> images, unclamped;
    - ``latent_shape``: ``(c, h, w)`` of one image of a given side;
    - ``encoder_parts`` and ``decoder_parts``: the modules that learn as one and freeze as one;
    - ``ends``, if it has layers of that kind.
    """

    @abstractmethod
    def encode(self, images: Images) -> Code:
        """Code of images; the first ``c`` channels are the mean."""

    @abstractmethod
    def decode(self, latents: Latents) -> Images:
        """Images of latents, not clamped to [-1, 1]."""

    @abstractmethod
    def latent_shape(self, image_size: int) -> tuple[int, int, int]:
        """``(c, h, w)`` of the latent of one ``image_size`` x ``image_size`` image.

        Raises:
            ValueError: the side is not a multiple of the autoencoder's downsampling factor.
        """

    @abstractmethod
    def encoder_parts(self) -> tuple[nn.Module, ...]:
        """The modules between image and code."""

    @abstractmethod
    def decoder_parts(self) -> tuple[nn.Module, ...]:
        """The modules between latents and image."""

    def ends(self) -> tuple[nn.Conv2d, nn.Conv2d] | None:
        """The last layer of the encoder, whose rows are the channels of the code, and the first of the decoder,
        so that weights of an encoder with two moments can serve one with one, and latents can be rescaled."""
        return None


def normalize_tokens(code: Code, channels: int) -> Code:
    """LayerNorm, without parameters, of the mean at every position independently (SimFlow, appendix B).

    With a fixed standard deviation ``s`` it bounds the signal-to-noise ratio of a token at ``1 / s**2``.
    Channels after the first ``channels`` (a log-variance) pass unchanged.
    """
    mean = F.layer_norm(code[:, :channels].movedim(1, -1), (channels,)).movedim(-1, 1)
    return mean if code.shape[1] == channels else torch.cat([mean, code[:, channels:]], dim=1)
