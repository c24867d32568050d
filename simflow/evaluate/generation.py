"""Samples against real images, as one extractor sees both: the field's figures with their errors and floors.

============================  ================================================================================
FID, FD-EffLite0, FD-DINOv2   Fréchet distance of the features (:mod:`~simflow.frechet`)
sFID                          the same of the spatial features
KID, KD-...                   kernel distance, mean over 100 subsets of 1000 (:mod:`~simflow.evaluate.kernel`)
IS                            inception score, mean over splits of 5000 as in ADM's evaluator
precision, recall             k = 3 (:mod:`~simflow.evaluate.manifold`)
density, coverage             k = 5
============================  ================================================================================

The *floor* is the same figure with real images in the place of the samples. No model can be expected to beat it. For
distances it is as many as there are samples, or half of the real ones if those are fewer, against all the others; with
few images even the floor of a Fréchet distance is large. Precision, recall, density and coverage depend on how many
samples there are for a real image (five make a coverage of 1, one of 0.97), so for these both sides are as large as for
the samples, or, where there are too few real images, smaller in the same proportion.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from simflow.data.order import spread
from simflow.evaluate.collect import Collected
from simflow.evaluate.extractors import Identity
from simflow.evaluate.figures import Figure, share, with_error
from simflow.evaluate.inception_score import inception_score
from simflow.evaluate.interval import divided, frechet_error, jackknife
from simflow.evaluate.kernel import kernel_distance
from simflow.evaluate.manifold import compare, compare_without
from simflow.evaluate.reference import Reference, join
from simflow.frechet import Frechet, Gaussian, Moments, frechet_distance
from simflow.seeding import generator
from simflow.shapes import Features

LEAST = 32
"""Fewer images on either side say nothing about a distribution."""


@dataclass(frozen=True, kw_only=True)
class GenerationConfig:
    """How the figures are taken; the defaults are the field's."""

    neighbour: int = 3
    """k of precision and recall."""
    density_neighbour: int = 5
    """k of density and coverage."""
    split: int = 5000
    """Samples in a split of the inception score."""
    subsets: int = 100
    """Subsets of the kernel distance."""
    subset: int = 1000
    """Images of either side in a subset; fewer if there are not so many."""
    real_images: int = 10_000
    """Most real images that precision, recall, density and coverage are taken with, evenly spread."""
    groups: int = 20
    """Of samples, each left out once for errors (:mod:`~simflow.evaluate.interval`); fewer than 2 take none."""
    seed: int = 0
    """Of subsets, halves and groups."""


class Parts(NamedTuple):
    """Real images in the place of samples, and the others."""

    ones: Features
    others: Features


def judge(
    identity: Identity, samples: Collected, reference: Reference, config: GenerationConfig
) -> list[Figure]:
    """All figures that these features allow.

    Raises:
        ValueError: there are too few images, or the reference has features of another dimension.
    """
    require_enough(identity, samples.count, reference.count)
    own = samples.moments.gaussian()
    parts = halves(reference.features, samples.count, seed=config.seed)
    figures = [_frechet(identity, samples, own, reference, parts, config)]
    if samples.spatial is not None and reference.spatial is not None:
        figures.append(_spatial(samples.spatial, reference))
    if samples.probabilities is not None:
        figures.append(_score(samples.probabilities, config))
    if reference.features is not None:
        figures.append(_kernel(identity, samples.features, reference.features, parts, config))
        figures += _manifold(samples.features, reference.features, config)
    return figures


def require_enough(identity: Identity, samples: int, real: int | None) -> None:
    """Refuses sets so small that a distance says nothing.

    Raises:
        ValueError: there are fewer than :data:`LEAST` samples or real images.
    """
    few = min(samples, samples if real is None else real)
    if few < LEAST:
        raise ValueError(
            f"a {identity.frechet} of {identity.dimension} numbers from {few} images says nothing: it takes at least "
            f"{LEAST} on either side, and more than {identity.dimension} for covariances of full rank"
        )


def halves(features: Features | None, samples: int, *, seed: int) -> Parts | None:
    """Two disjoint sets of real images for the floor; None if there are too few of them."""
    if features is None or len(features) < 2 * LEAST:
        return None
    order = torch.randperm(len(features), generator=generator("halves", seed))
    size = min(samples, len(features) // 2)
    return Parts(features[order[:size]], features[order[size:]])


def in_proportion(features: Features, samples: int, real: int, *, seed: int) -> Parts | None:
    """Two disjoint sets of real images, ``samples`` and ``real`` of them, or fewer in that proportion if there are too
    few; None if there are far too few."""
    if len(features) < 2 * LEAST:
        return None
    order = torch.randperm(len(features), generator=generator("halves", seed))
    size = samples * min(len(features), samples + real) // (samples + real)
    size = min(max(size, LEAST), len(features) - LEAST)
    return Parts(features[order[:size]], features[order[size : size + real]])


def gaussian_of(features: Features) -> Gaussian:
    """Mean and covariance of features that are at hand."""
    moments = Moments(features.shape[1])
    for part in features.split(4096):
        moments.add(part)
    return moments.gaussian()


def frechet_floor(parts: Parts | None) -> float | None:
    """The Fréchet distance of real images in the place of samples from the others; None where there are too few."""
    if parts is None:
        return None
    return frechet_distance(gaussian_of(parts.others), gaussian_of(parts.ones)).distance


def _frechet(
    identity: Identity,
    samples: Collected,
    own: Gaussian,
    reference: Reference,
    parts: Parts | None,
    config: GenerationConfig,
) -> Figure:
    found = frechet_distance(reference.gaussian, own)
    error = None
    if len(samples.features) == samples.count:
        error = frechet_error(reference.gaussian, samples.features, groups=config.groups, seed=config.seed)
    return Figure(
        name=identity.frechet,
        better="lower",
        floor=frechet_floor(parts),
        detail=_detail(found, samples.count, reference)
        | {"dimension": identity.dimension, "floor_counts": _sizes(parts), "groups": config.groups},
        **with_error(found.distance, error),
    )


def _spatial(halves_of_samples: tuple[Moments, Moments], reference: Reference) -> Figure:
    assert reference.spatial is not None
    own = join(*halves_of_samples)
    found = frechet_distance(reference.spatial, own)
    floor = None if reference.halves is None else frechet_distance(*reference.halves).distance
    count = sum(half.count for half in halves_of_samples)
    detail = _detail(found, count, reference) | {
        "dimension": len(own.mean),
        "floor_counts": "even and odd real images",
    }
    return Figure(name="sFID", value=found.distance, better="lower", floor=floor, detail=detail)


def _score(probabilities: Tensor, config: GenerationConfig) -> Figure:
    splits = max(1, len(probabilities) // config.split)
    found = inception_score(probabilities, splits=splits)
    groups = divided(len(probabilities), config.groups, seed=config.seed)
    error = jackknife([inception_score(_without(probabilities, each), splits=splits).mean for each in groups])
    detail = {"splits": splits, "std_over_splits": found.std, "samples": len(probabilities)}
    detail["groups"] = len(groups)
    return Figure(name="IS", better="higher", detail=detail, **with_error(found.mean, error))


def _kernel(
    identity: Identity,
    samples: Float[Tensor, "m d"],
    real: Features,
    parts: Parts | None,
    config: GenerationConfig,
) -> Figure:
    size = min(config.subset, len(samples), len(real), len(parts.ones) if parts else len(real))
    draws = generator("kernel", config.seed)
    found = kernel_distance(real, samples, draws, subsets=config.subsets, size=size)
    floor = None
    if parts is not None:
        floor = kernel_distance(parts.others, parts.ones, draws, subsets=config.subsets, size=size).mean
    return Figure(
        name=identity.kernel,
        value=found.mean,
        better="lower",
        floor=floor,
        detail={
            "subsets": config.subsets,
            "subset": size,
            "std_over_subsets": found.std,
            "samples": len(samples),
            "real": len(real),
            "floor_counts": _sizes(parts),
        },
    )


def _manifold(samples: Float[Tensor, "m d"], real: Features, config: GenerationConfig) -> list[Figure]:
    some = real[spread(len(real), config.real_images)]
    parts = in_proportion(real, len(samples), len(some), seed=config.seed)
    groups = divided(len(samples), config.groups, seed=config.seed)
    counts = {
        "samples": len(samples),
        "real": len(some),
        "floor_counts": _sizes(parts),
        "groups": len(groups),
    }
    near, wide = ("precision", "recall"), ("density", "coverage")
    figures = []
    for k, names in ((config.neighbour, near), (config.density_neighbour, wide)):
        whole, *without = compare_without(some, samples, groups, k=k)
        floors = None if parts is None else compare(parts.others, parts.ones, k=k)
        for name in names:
            value, others = getattr(whole, name), [getattr(each, name) for each in without]
            fields = (
                share(value, len(samples)) if name == "precision" else with_error(value, jackknife(others))
            )
            floor, detail = getattr(floors, name, None), {"k": k} | counts
            figures.append(Figure(name=name, better="higher", floor=floor, detail=detail, **fields))
    return figures


def _without(rows: Tensor, group: Int[Tensor, " n"]) -> Tensor:
    kept = torch.ones(len(rows), dtype=torch.bool)
    kept[group] = False
    return rows[kept]


def _detail(found: Frechet, count: int, reference: Reference) -> dict[str, Any]:
    return {
        "means": found.means,
        "covariances": found.covariances,
        "rank_deficient": found.rank_deficient,
        "samples": count,
        "real": reference.count,
    }


def _sizes(parts: Parts | None) -> list[int] | None:
    return None if parts is None else [len(parts.ones), len(parts.others)]
