"""The two journeys. Read this file first.

::

    training / encoding                              generation
    Images  b 3 H W                                  seeds -> noise
      | autoencoder.encode                             | prior.inverse: block after block, token after token,
    Code    b m h w                                    |   (or many at once), guided where a rule is given
      | posterior.sample  (its entropy -> objective) Latents b c h w
    Latents b c h w ----> autoencoder.decode           | refinement (a score step, or nothing)
      | prior.energy      -> Images'                   | autoencoder.decode
    Noise   b n d                                    Images

A model is four choices: **autoencoder** (image <-> code), **posterior** (code -> latents), **prior** (latents <->
noise) and, when sampling, **refinement**. Together they are the ELBO (SimFlow, Eq. 19):
``log p(image) >= E[log p(image|x)] + E[log p(x)] + H[q(x|image)]``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from unicodedata import normalize

import torch
from torch import Generator, Tensor, nn

from simflow.autoencoder.compact import CompactConfig
from simflow.autoencoder.kl import KLConfig
from simflow.autoencoder.pixels import PixelsConfig
from simflow.flow.decode import SEQUENTIAL, Decoding
from simflow.flow.guidance import Guidance
from simflow.flow.score import Refinement
from simflow.flow.stack import FlowConfig
from simflow.posterior import Dequantised, FixedVariance, LearnedVariance, Linear, NoNoise, Slerp
from simflow.precision import NetworkDtype, computing_in
from simflow.prior import Prior
from simflow.shapes import NULL, Images, Labels, Latents
from simflow.sit.guidance import ClassifierFree
from simflow.sit.prior import SiTConfig
from simflow.turns import in_proportion

"""In what networks compute: as their weights are, or in half precision."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a model must know of its data; found in the data, stored with the weights."""

    image_size: int
    """Side of the square images, in pixels."""
    channels: int
    """1 for gray, 3 for colour."""
    class_names: tuple[str, ...]
    """Names of the classes in the order of their labels; empty for an unconditional model. Those of a family are called
    ``family/class``."""
    class_sizes: tuple[int, ...] = ()
    """Training images of each class, near-duplicates as one, where there are families: their classes are sampled as
    often. Empty where there are none, or where it is not known."""

    def labels_of(self, names: Sequence[str]) -> list[int]:
        """Labels of class names or numbers; where a class is named by a number, the name counts.

        How Unicode composes the letters of a name makes no difference.

        Raises:
            ValueError: there is no such class, or it is a family of several.
        """
        found = [self._behind(name) for name in names]
        for name, labels in zip(names, found, strict=True):
            if len(labels) > 1:
                raise ValueError(
                    f"{name!r} is a family of {len(labels)} classes, and one is wanted here, such as "
                    f"{self.class_names[labels[0]]!r}"
                )
        return [label for (label,) in found]

    def choices_of(self, names: Sequence[str]) -> list[tuple[int, ...]]:
        """For each name the labels that it leaves open, to be taken in turn: that of a class, or those of a family,
        each as often in a hundred as its images are among the family's.

        >>> facts = Facts(image_size=8, channels=1, class_names=("bag", "pet/cat", "pet/dog"))
        >>> facts.choices_of(["pet", "bag", "pet/dog", "1"])
        [(1, 2), (0,), (2,), (1,)]

        Raises:
            ValueError: there is no such class or family.
        """
        return [self._turns(self._behind(name)) for name in names]

    @cached_property
    def families(self) -> dict[str, tuple[int, ...]]:
        """The labels of each family, in the order of their first; a class without one is a family of its own."""
        found: dict[str, tuple[int, ...]] = {}
        for label in range(len(self.class_names)):
            family = self.family_of(label)
            found[family] = (*found.get(family, ()), label)
        return found

    def turns_of(self, family: str) -> tuple[int, ...]:
        """The classes of a family as they are sampled in turn: each once or, where their sizes are known, as often in a
        hundred turns as its share says, evenly spread."""
        return self._turns(self.families[family])

    def family_of(self, label: int) -> str:
        """What stands before the slash in the name of a class, or all of it where there is none."""
        family, slash, rest = self.class_names[label].partition("/")
        return family if family and slash and rest else self.class_names[label]

    @cached_property
    def _known(self) -> dict[str, tuple[int, ...]]:
        """The labels behind a number, a family or a class; of two that are called alike the later counts."""
        known = {str(label): (label,) for label in range(len(self.class_names))}
        known |= {normalize("NFC", family): labels for family, labels in self.families.items()}
        return known | {normalize("NFC", name): (label,) for label, name in enumerate(self.class_names)}

    def _behind(self, name: str) -> tuple[int, ...]:
        labels = self._known.get(normalize("NFC", name))
        if labels is None:
            told = ", ".join(self.class_names[:20]) or "none: the model is unconditional"
            raise ValueError(f"there is no class {name!r}; the classes are {told}")
        return labels

    def _turns(self, labels: tuple[int, ...]) -> tuple[int, ...]:
        sizes = [self.class_sizes[label] for label in labels] if self.class_sizes else []
        return in_proportion(labels, sizes) if len(labels) > 1 and any(sizes) else labels


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The choices of a model: one type a slot. A variant swaps a type, or changes a number."""

    autoencoder: CompactConfig | KLConfig | PixelsConfig = field(default_factory=KLConfig)
    """Image <-> code."""
    posterior: FixedVariance | LearnedVariance | Linear | Slerp | Dequantised | NoNoise = field(
        default_factory=FixedVariance
    )
    """Code -> a distribution over latents."""
    prior: FlowConfig | SiTConfig = field(default_factory=FlowConfig)
    """Latents <-> noise."""

    def build(self, facts: Facts) -> "Model":
        """The model for data of these facts, freshly initialised from torch's global generator."""
        return Model(self, facts)


class Model(nn.Module):
    """Autoencoder, posterior and prior.

    Raises:
        ValueError: the image side does not fit the autoencoder or the patch.
    """

    def __init__(self, config: ModelConfig, facts: Facts) -> None:
        super().__init__()
        self.config, self.facts = config, facts
        self.posterior = config.posterior
        self.autoencoder = config.autoencoder.build(
            image_channels=facts.channels, moments=config.posterior.moments
        )
        self.latent_shape = self.autoencoder.latent_shape(facts.image_size)
        self.prior: Prior = config.prior.build(latent_shape=self.latent_shape, classes=len(facts.class_names))

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The parameters' dtype."""
        return next(self.parameters()).dtype

    def encode(self, images: Images, generator: Generator) -> Latents:
        """Images in [-1, 1] -> a draw of their latents."""
        return self.posterior.sample(self.autoencoder.encode(images), generator)

    def decode(self, latents: Latents) -> Images:
        """Latents -> images, unclamped."""
        return self.autoencoder.decode(self.posterior.to_decoder(latents))

    def generate(
        self,
        noise: Tensor,
        labels: Labels,
        *,
        guidance: Guidance | ClassifierFree | None = None,
        refinement: Refinement | None = None,
        decoding: Decoding = SEQUENTIAL,
        dtype: NetworkDtype = "float32",
    ) -> Images:
        """Noise ``(b, n, d)`` and labels -> images, unclamped.

        Args:
            noise: standard normal noise of ``prior.noise_shape``.
            labels: ``(b,)``; :data:`~simflow.shapes.NULL` for "no class".
            guidance: how conditional and unconditional predictions mix, or None.
            refinement: a score step on the latents before decoding, or None.
            decoding: how the blocks of a flow are undone: exactly, or within a tolerance.
            dtype: of the products in all networks, of prior, refinement and decoder; tokens and affine maps keep the
                dtype of the weights.

        Raises:
            ValueError: a label is out of range, guidance away from "no class" is asked of a model without classes, or
                a rule of guidance or a way of decoding does not fit the prior.
        """
        latents = self.latents(noise, labels, guidance=guidance, decoding=decoding, dtype=dtype)
        return self.finished(latents, labels, refinement=refinement, dtype=dtype)

    @torch.no_grad()
    def finished(
        self,
        latents: Latents,
        labels: Labels,
        *,
        refinement: Refinement | None = None,
        dtype: NetworkDtype = "float32",
    ) -> Images:
        """Latents as they come from the prior -> images, unclamped; arguments as for :meth:`generate`."""
        with computing_in(dtype, latents.device):
            images = self.decode(self.refined(latents, labels, refinement))
        return images.to(latents.dtype)

    @torch.no_grad()
    def latents(
        self,
        noise: Tensor,
        labels: Labels,
        *,
        guidance: Guidance | ClassifierFree | None = None,
        decoding: Decoding = SEQUENTIAL,
        dtype: NetworkDtype = "float32",
    ) -> Latents:
        """Noise ``(b, n, d)`` and labels -> latents as they come from the prior; arguments and errors as for
        :meth:`generate`."""
        self.check_labels(labels)
        if guidance is not None and guidance.needs_classes and not self.facts.class_names:
            raise ValueError("guidance needs classes, and this model was trained without any")
        way = None if decoding == SEQUENTIAL else decoding  # every prior knows its exact way
        self.prior.check_sampling(guidance, way)
        with computing_in(dtype, noise.device):
            return self.prior.inverse(noise, labels, guidance, way)

    def refined(self, latents: Latents, labels: Labels, refinement: Refinement | None) -> Latents:
        """Latents after the refinement, or as they are without one."""
        return latents if refinement is None else refinement.refine(self.prior.log_prob, latents, labels)

    def check_labels(self, labels: Labels) -> None:
        """Refuses labels outside ``-1 .. classes - 1``."""
        classes = len(self.facts.class_names)
        if labels.numel() and (int(labels.max()) >= classes or int(labels.min()) < NULL):
            if not classes:
                raise ValueError(f"this model has no classes: every label must be {NULL}")
            raise ValueError(f"labels must lie in 0 .. {classes - 1} (or be {NULL} for no class)")
