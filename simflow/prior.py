"""The third slot: latent <-> noise.

A prior models latents ``(b, c, h, w)`` given labels. It does not know where the latents come from, nor what
becomes of those it samples. Flows (:mod:`simflow.flow`) are exact and offer a density; an interpolant
(SiT) has a loss and a sampler only.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Generator, Tensor, nn

from simflow.shapes import Labels, Latents, PerImage, Tokens

Hidden = Float[Tensor, "b n hidden"]
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
    ``energy`` (training), ``inverse`` (noise to latents, with the prior's own guidance type), ``least_energy`` and
    the four facts below. One that has a density overrides ``log_prob``.
    """

    noise_shape: tuple[int, ...]
    """What noise of one image looks like: tokens and numbers of each."""
    hidden_width: int
    """Numbers in a hidden token."""
    grid: tuple[int, int]
    """Rows and columns of the tokens."""
    depths: tuple[int, ...]
    """Layers of each block, for those who ask for hidden tokens."""

    @abstractmethod
    def energy(
        self, latents: Latents, labels: Labels, generator: Generator, align: Align | None = None
    ) -> Energy:
        """Training energy of latents under labels (NULL where dropped), and hidden tokens if asked."""

    @abstractmethod
    def inverse(self, z: Tokens, labels: Labels, guidance: Any = None, decoding: Any = None) -> Latents:
        """Noise ``(b, n, d)`` -> latents ``(b, c, h, w)``, guided where a rule of the prior's own is given.

        ``decoding`` says how, where the prior knows several ways to the same latents; None is its exact one.

        Raises:
            ValueError: the rule or the way is another prior's.
        """

    @abstractmethod
    def least_energy(self, floor: float) -> float:
        """The least mean energy a number that latents with noise in them can have.

        Args:
            floor: entropy of the noise a number, in nats, less ``log(2 pi) / 2``.
        """

    def settle(self, average: Callable[[Tensor], Tensor]) -> None:
        """Called once a training step, after the gradient's: takes over what energies have shown beside it.

        ``average`` gives the mean of a tensor over all processes. Most priors learn by gradient alone.
        """
        return

    def log_prob(self, latents: Latents, labels: Labels) -> PerImage:
        """``log p(latents | labels)`` in nats ``(b,)``, all constants included; flows have it.

        Raises:
            ValueError: the prior has no density that can be computed.
        """
        raise ValueError(f"{type(self).__name__} has no density: likelihoods and score steps need a flow")
