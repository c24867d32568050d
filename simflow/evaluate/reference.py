"""What samples are held against: real images, or statistics that somebody took of them.

An ``.npz`` may hold images (``arr_0`` uint8 NHWC, as ADM's sample batches do), statistics of Inception's features
(``mu``, ``sigma``, and ``mu_s``, ``sigma_s`` of the spatial ones, as ADM's ``VIRTUAL_*.npz`` have), or both.
``simflow stats`` writes the same names, and besides ``features`` of up to 10 000 images, for precision and recall, and
``meta``: a JSON text that says whose features they are and of which images. Statistics without ``meta`` can only be
Inception's; those with it serve the very extractor that took them, known by the hash of its weights.

Images of floating point are refused whatever their range: how they become bytes is a choice that moves every figure,
so it is made where the images are made.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from simflow.data.arrays import channels_last, classes_in
from simflow.data.npz import IMAGES, LABELS, arrays_of, pair_in
from simflow.evaluate.collect import Collected, Held
from simflow.evaluate.extractors import Extractor, Identity
from simflow.evaluate.figures import finite
from simflow.files import replacing
from simflow.frechet import Gaussian, Moments
from simflow.records import at


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What one extractor knows of the real images."""

    count: int | None
    """How many images the moments are of; None if nobody says."""
    gaussian: Gaussian
    spatial: Gaussian | None
    features: Float[Tensor, "n d"] | None
    """Of all images or of some, for measures that compare image with image; None if there are none."""
    halves: tuple[Gaussian, Gaussian] | None = None
    """Of the spatial features of two disjoint halves, for the floor."""


@dataclass(frozen=True, kw_only=True)
class Archive:
    """The content of an ``.npz`` file."""

    images: Held | None
    statistics: dict[str, Tensor]
    """Those of ``mu``, ``sigma``, ``mu_s``, ``sigma_s``, ``features`` that there are."""
    meta: dict[str, Any]
    """What ``simflow stats`` wrote; empty for files of others."""

    def serves(self, extractor: Extractor) -> bool:
        """Whether the statistics are of this extractor's features."""
        if "mu" not in self.statistics:
            return False
        if not self.meta:
            return extractor.identity.name == "inception"
        ours, theirs = asdict(extractor.identity), self.meta["extractor"]
        return all(ours[key] == theirs.get(key) for key in ("name", "sha256", "resize", "size", "scaling"))


STATISTICS = ("mu", "sigma", "mu_s", "sigma_s", "features")


def read_archive(path: Path) -> Archive:
    """Reads an ``.npz`` of images or statistics.

    Raises:
        ValueError: there is no such file, it is damaged, or its arrays are not as described at the top.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    arrays = arrays_of(path, (*IMAGES, *LABELS, *STATISTICS, "meta"))
    meta = _meta(str(arrays["meta"]), path) if "meta" in arrays else {}
    statistics = {name: torch.from_numpy(arrays[name]) for name in STATISTICS if name in arrays}
    _check_statistics(statistics, path)
    pixels, labels = pair_in(arrays)
    if pixels is None and "mu" not in statistics:
        raise ValueError(f"{path} has neither images (arr_0) nor statistics (mu and sigma)")
    images = None if pixels is None else _images(pixels, labels, path)
    return Archive(images=images, statistics=statistics, meta=meta)


def write_statistics(path: Path, collected: Collected, meta: dict[str, Any]) -> None:
    """Writes moments, kept features and ``meta``, which must hold the ``extractor``'s identity.

    Raises:
        ValueError: the name does not end in ``.npz``, or there are fewer than two images.
    """
    if path.suffix != ".npz":
        raise ValueError(f"the name of a file of statistics must end in .npz, and {path.name} does not")
    whole = collected.moments.gaussian()
    arrays: dict[str, Any] = {"mu": whole.mean.numpy(), "sigma": whole.covariance.numpy()}
    arrays["features"] = collected.features.numpy()
    if collected.spatial is not None:
        spatial = join(*collected.spatial)
        arrays |= {"mu_s": spatial.mean.numpy(), "sigma_s": spatial.covariance.numpy()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part, part.open("wb") as file:
        np.savez(file, meta=json.dumps(finite(meta)), **arrays)


def of_collected(collected: Collected) -> Reference:
    """A reference from images that were looked at.

    Raises:
        ValueError: there are fewer than two images.
    """
    halves = collected.spatial
    return Reference(
        count=collected.count,
        gaussian=collected.moments.gaussian(),
        spatial=None if halves is None else join(*halves),
        features=collected.features,
        halves=halves_of(halves),
    )


def of_archive(archive: Archive, seen: Collected | None) -> Reference:
    """A reference from statistics; ``seen`` are the archive's own images, where it has any."""
    found, meta = archive.statistics, archive.meta
    features = seen.features if seen is not None else found.get("features")
    count, dimension = meta.get("count"), len(found["mu"])
    deficient = count is not None and count <= dimension
    return Reference(
        count=count,
        gaussian=Gaussian(found["mu"].double(), found["sigma"].double(), deficient),
        spatial=Gaussian(found["mu_s"].double(), found["sigma_s"].double()) if "mu_s" in found else None,
        features=features,
        halves=None if seen is None else halves_of(seen.spatial),
    )


def join(one: Moments, other: Moments) -> Gaussian:
    """The Gaussian of what two accumulators have seen, which stay as they are."""
    whole = Moments(len(one.mean))
    whole.merge(one)
    whole.merge(other)
    return whole.gaussian()


def halves_of(spatial: tuple[Moments, Moments] | None) -> tuple[Gaussian, Gaussian] | None:
    """Two Gaussians, if there are two images in each half."""
    if spatial is None or min(half.count for half in spatial) < 2:
        return None
    return spatial[0].gaussian(), spatial[1].gaussian()


def describe(identity: Identity) -> dict[str, Any]:
    """An identity with the names of its distances, for JSON."""
    return asdict(identity) | {"frechet": identity.frechet, "kernel": identity.kernel}


def _meta(text: str, path: Path) -> dict[str, Any]:
    try:
        meta: Any = json.loads(text)
    except ValueError:
        meta = None
    if not isinstance(at(meta, "extractor"), dict):
        raise ValueError(f"{path} has a meta that simflow stats did not write: it names no extractor")
    return meta


def _images(pixels: np.ndarray, labels: np.ndarray | None, path: Path) -> Held:
    if pixels.dtype != np.uint8:
        where = (
            f" from {pixels.min():.4g} to {pixels.max():.4g}"
            if pixels.size and np.issubdtype(pixels.dtype, np.number)
            else ""
        )
        raise ValueError(
            f"the images of {path} are {pixels.dtype}{where}, and figures are taken of uint8 from 0 to 255: "
            "convert them where their range is known (simflow.pixels.to_uint8 takes [-1, 1])"
        )
    pixels = channels_last(pixels, where=str(path))
    images = torch.from_numpy(pixels[..., None] if pixels.ndim == 3 else pixels)
    numbers, class_names = classes_in(labels, len(pixels), None, where=str(path))
    return Held(
        pixels=rearrange(images, "n h w c -> n c h w"),
        labels=torch.from_numpy(numbers),
        class_names=class_names,
    )


def _check_statistics(found: dict[str, Tensor], path: Path) -> None:
    for mean, covariance in (("mu", "sigma"), ("mu_s", "sigma_s")):
        if (mean in found) != (covariance in found):
            raise ValueError(f"{path} has only one of {mean} and {covariance}, and statistics are both")
        if mean not in found:
            continue
        d = found[mean].numel()
        if found[mean].shape != (d,) or found[covariance].shape != (d, d):
            shapes = f"{tuple(found[mean].shape)} and {tuple(found[covariance].shape)}"
            raise ValueError(
                f"{mean} and {covariance} in {path} have the shapes {shapes}, not (d,) and (d, d)"
            )
        if not bool(found[mean].isfinite().all() and found[covariance].isfinite().all()):
            raise ValueError(f"{mean} or {covariance} in {path} has infinities or what is no number")
