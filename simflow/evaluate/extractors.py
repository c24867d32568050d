"""What describes an image to the measures: one interface for all feature networks.

An :class:`Extractor` takes bytes of any size and gives :class:`Seen`: features, and for some networks spatial
features (for the sFID) and class probabilities (for the inception score). It also says who it is
(:class:`Identity`): which network, which weights by their SHA-256, how images are resized and scaled. A figure
without its identity cannot be compared with anything, so every result carries one.

The networks are :mod:`~simflow.evaluate.inception`, :mod:`~simflow.evaluate.efficientnet` and
:mod:`~simflow.evaluate.dino`; :mod:`~simflow.evaluate.choose` makes them from words. Only Inception's distances are
called FID and KID.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from simflow.pixels import Bytes
from simflow.tensors import misfit


class Missing(ValueError):
    """Weights or a package are not at hand: the figures that need them are left out, and said to be."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Who looked, and how: everything that a figure depends on besides the images."""

    name: str
    """Of the extractor, as it is asked for."""
    suffix: str
    """What the names of its distances end in: empty for Inception (FID), else as in FD-EffLite0."""
    network: str
    """The network and the layer that is read."""
    dimension: int
    """Numbers in a feature."""
    resize: str
    """How images come to the network's size."""
    size: int
    """That size: height and width in pixels."""
    scaling: str
    """How 0..255 becomes the network's input."""
    weights: str
    """Name of the file, package or repository that the weights are from."""
    sha256: str
    """Of the weights: the file's, or that of all tensors by name where they come from several files."""

    @property
    def frechet(self) -> str:
        """Name of the Fréchet distance: FID for Inception only."""
        return f"FD-{self.suffix}" if self.suffix else "FID"

    @property
    def kernel(self) -> str:
        """Name of the kernel distance: KID for Inception only."""
        return f"KD-{self.suffix}" if self.suffix else "KID"


class Seen(NamedTuple):
    """What a network sees in ``b`` images, float32."""

    features: Float[Tensor, "b d"]
    spatial: Float[Tensor, "b s"] | None = None
    """Features that still know places, for the sFID."""
    probabilities: Float[Tensor, "b classes"] | None = None
    """Of the network's own classes, for the inception score."""


class Extractor(nn.Module, ABC):
    """Images -> features, frozen.

    To write one: give ``identity`` and :meth:`see`, which resizes and scales as the identity says. Features of an
    image may depend on nothing but the image.
    """

    identity: Identity

    @abstractmethod
    def see(self, images: Bytes) -> Seen:
        """Features of uint8 images ``(b, 1 or 3, h, w)`` on the network's device."""

    @torch.no_grad()
    def forward(self, images: Bytes) -> Seen:
        """:meth:`see` without gradients, in evaluation mode."""
        assert not self.training
        return self.see(images)


def sha256_of_file(path: Path) -> str:
    """Hexadecimal digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fill(network: nn.Module, tensors: Mapping[str, Tensor], *, where: str) -> None:
    """Gives a network weights of its own names and shapes; counters of batch norms may be absent.

    Raises:
        ValueError: a tensor is missing, too many, or of another shape; the first is named.
    """
    own = {name: t for name, t in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    given = {name: t for name, t in tensors.items() if not name.endswith("num_batches_tracked")}
    wrong = misfit(given, own)
    if wrong is not None:
        raise ValueError(f"{where} does not hold the weights of this network: {wrong}")
    for name, tensor in own.items():
        tensor.copy_(given[name])
