"""The third slot: latent <-> noise.

A prior models latents ``(b, c, h, w)`` given labels. It does not know where the latents come from, nor what
becomes of those it samples. Flows (:mod:`simflow.flow`) are exact and offer a density; an interpolant
(SiT) has a loss and a sampler only.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

from jaxtyping import Float
from torch import Generator, Tensor, nn

from simflow.shapes import Labels, Latents, PerImage

Hidden = Float[Tensor, "b n width"]
"""Hidden tokens of a network: as many as the noise has, of another width."""


class Align(NamedTuple):
    """Which hidden tokens a caller wants to see: after layer ``layer`` of block ``block``, both 1-based."""

    block: int
    layer: int


class Energy(NamedTuple):
    """What a prior says of a batch of latents in training.

    ``value`` ``(b,)`` is a true sum over the numbers of one latent. For a flow it is
    ``-log p(x) - D/2 log(2 pi)`` in nats: the negative of Eq. 25 of the SimFlow paper. ``hidden`` holds the
    requested hidden tokens ``(b, n, width)`` in raster order.
    """

    value: PerImage
    hidden: Hidden | None


class Prior(nn.Module, ABC):
    """Latent <-> noise.

    To write one: a frozen keyword-only config with ``build(*, latent_shape, classes)``, and a class with
    ``energy`` (training), ``noise_shape`` (what noise of one image looks like) and ``inverse`` (noise to
    latents, with the prior's own guidance type).
    """

    noise_shape: tuple[int, ...]
    hidden_width: int

    @abstractmethod
    def energy(
        self, latents: Latents, labels: Labels, generator: Generator, align: Align | None = None
    ) -> Energy:
        """Training energy of latents under labels (NULL where dropped), and hidden tokens if asked."""
