"""Images -> what the measures need of their features, over batches and processes.

Each process looks at a contiguous share of the images; counts, means and scatters are kept in float64 and merged
(:class:`~simflow.frechet.Moments`), so that neither the batch size nor the number of processes moves a figure
by more than rounding. Features themselves are kept, in the order of the images, for the measures that compare image
with image (all of them, or evenly spread ones). Spatial features are too large to keep; their moments are taken apart
for even and odd images, which gives them a floor.

All functions here are collective.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from simflow.data.order import spread
from simflow.distributed import gather_rows, share_of
from simflow.evaluate.extractors import Extractor
from simflow.frechet import Moments
from simflow.pixels import Bytes

OnProgress = Callable[[int], None]
"""Called with the number of images that this process has seen since the last call."""


@runtime_checkable
class Pictures(Protocol):
    """Any source of byte images: an :class:`~simflow.data.images.ImageSet`, an archive, sampled shards."""

    @property
    def labels(self) -> Int[Tensor, " n"]:
        """The class of each image; ``NULL`` for none."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes ``0, 1, ...``."""
        ...

    def __len__(self) -> int: ...

    def images(self, indices: Int[Tensor, " b"] | Sequence[int]) -> Bytes:
        """Images of these indices."""
        ...


@dataclass(frozen=True, kw_only=True)
class Held:
    """Images in memory, as :class:`Pictures`."""

    pixels: Bytes
    labels: Int[Tensor, " n"]
    class_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.pixels)

    def images(self, indices: Int[Tensor, " b"] | Sequence[int]) -> Bytes:
        """Images of these indices."""
        return self.pixels[torch.as_tensor(indices, dtype=torch.int64)]


@dataclass(frozen=True, kw_only=True)
class Collected:
    """What one extractor saw in one set of images; the same on every process."""

    count: int
    moments: Moments
    features: Float[Tensor, "kept d"]
    """Of all images, or of evenly spread ones, in their order; float32 on the CPU."""
    spatial: tuple[Moments, Moments] | None
    """Of the spatial features of even and of odd images."""
    probabilities: Float[Tensor, "n classes"] | None
    """Of all images, in their order; None unless asked for."""


def collect(
    extractor: Extractor,
    pictures: Pictures,
    *,
    device: torch.device | str = "cpu",
    batch: int = 64,
    keep: int | None = None,
    probabilities: bool = False,
    on_progress: OnProgress = lambda seen: None,
) -> Collected:
    """Looks at all images once.

    Args:
        extractor: on ``device``.
        pictures: the images.
        device: where to look.
        batch: images at once, on each process.
        keep: how many images' features are kept, evenly spread; None keeps all.
        probabilities: whether to keep class probabilities, if the extractor has any.
        on_progress: see :data:`OnProgress`.
    """
    total, dimension = len(pictures), extractor.identity.dimension
    kept = torch.zeros(total, dtype=torch.bool)
    kept[spread(total, keep)] = True
    where = device if torch.device(device).type == "cuda" else "cpu"  # where float64 is fast, or is at all
    moments, halves = Moments(dimension, device=where), None
    features: list[Tensor] = [torch.zeros(0, dimension)]
    shares: list[Tensor] = []
    for numbers in share_of(total).split(batch):
        seen = extractor(pictures.images(numbers).to(device))
        own = seen.features.float()
        moments.add(own.to(where))
        features.append(own.cpu()[kept[numbers]])
        if seen.spatial is not None:
            spatial = seen.spatial.float().to(where)
            if halves is None:
                halves = Moments(spatial.shape[1], device=where), Moments(spatial.shape[1], device=where)
            for parity, half in enumerate(halves):
                half.add(spatial[numbers.to(where) % 2 == parity])
        if probabilities and seen.probabilities is not None:
            shares.append(seen.probabilities.float().cpu())
        on_progress(len(numbers))
    gather = partial(gather_rows, device=device)
    return Collected(
        count=total,
        moments=moments.of_all(gather),
        features=gather(torch.cat(features)),
        spatial=None if halves is None else (halves[0].of_all(gather), halves[1].of_all(gather)),
        probabilities=gather(torch.cat(shares)) if shares else None,
    )
