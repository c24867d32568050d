"""The third slot: latent <-> noise.

A prior models latents ``(b, c, h, w)`` given labels. It does not know where the latents come from, nor what
becomes of those it samples. Flows (:mod:`simflow.flow`) are exact and offer a density; an interpolant
(SiT) has a loss and a sampler only. What a prior can do it says itself: who wants to know asks it, and not its class.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from inspect import isabstract
from typing import Any, ClassVar, NamedTuple

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
    ``energy`` (training), ``inverse`` (noise to latents), ``least_energy`` and the four facts below. One that can be
    guided names its ``rules``, one that has a density overrides ``log_prob``, one that makes its samples block by block
    overrides ``trajectory``, one that can learn from its samples ``reparametrised``; ``kind`` and ``described`` are for
    ``simflow info``.
    """

    kind: ClassVar[str] = "prior"
    """What it is called, in a word of at most twelve letters."""
    rules: ClassVar[tuple[type[Any], ...]] = ()
    """The rules of guidance that ``inverse`` follows, the usual one first; an abstract one stands for all that derive
    from it. Empty if it cannot be guided."""

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

        ``decoding`` says how, where the prior knows several ways to the same latents; None is its exact one. A model
        asks :meth:`check_sampling` first, so only rules and ways that are the prior's own arrive.
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
        """``log p(latents | labels)`` in nats ``(b,)``, all constants included, where there is a density.

        Raises:
            ValueError: the prior has no density that can be computed.
        """
        raise ValueError(f"{type(self).__name__} has no density: likelihoods and score steps need one")

    @property
    def has_density(self) -> bool:
        """Whether likelihoods, classification and score steps are to be had: ``log_prob`` is overridden."""
        return type(self).log_prob is not Prior.log_prob

    def reparametrised(self, z: Tokens, labels: Labels, guidance: Any = None, *, passes: int = 1) -> Latents:
        """:meth:`inverse` with a gradient in the parameters, for losses on samples, where a prior knows how.

        ``passes`` says how many orders of the gradient are wanted.

        Raises:
            ValueError: it does not.
        """
        raise ValueError(f"{type(self).__name__} cannot learn from its samples")

    @property
    def learns_from_samples(self) -> bool:
        """Whether losses on samples reach the parameters: ``reparametrised`` is overridden."""
        return type(self).reparametrised is not Prior.reparametrised

    def trajectory(
        self, z: Tokens, labels: Labels, guidance: Any = None, decoding: Any = None
    ) -> list[Latents]:
        """Noise laid out as latents, then what each undone block makes of it; the last are those of :meth:`inverse`.

        Raises:
            ValueError: the prior has no blocks that are undone one after the other.
        """
        raise ValueError(f"{type(self).__name__} does not make its samples block by block")

    @property
    def by_blocks(self) -> bool:
        """Whether samples are made block by block, so that there are several ways of decoding: ``trajectory`` is
        overridden."""
        return type(self).trajectory is not Prior.trajectory

    @property
    def described(self) -> str:
        """What it consists of, in a few words; its class if nothing more is said."""
        return type(self).__name__

    def check_sampling(self, guidance: object, decoding: object) -> None:
        """Refuses a rule of guidance that is none of :attr:`rules`, and ways of decoding where there are no blocks.

        Args:
            guidance: a rule, or None for none.
            decoding: a way, or None for the exact one.

        Raises:
            ValueError: the rule or the way is another prior's.
        """
        name = type(self).__name__
        if guidance is not None and not isinstance(guidance, self.rules):
            given, own = type(guidance).__name__, [r.__name__ for r in self.rules if not isabstract(r)]
            if not own:
                raise ValueError(f"{name} follows no rule of guidance, so {given} is not for it")
            raise ValueError(f"{name} is guided by {' or '.join(own)}, not by {given}")
        if decoding is not None and not self.by_blocks:
            raise ValueError(f"{name} has no blocks to undo: Jacobi decoding and plans are for flows")
