"""Collected features do not depend on the batch; the protocol's figures have floors, errors and refusals."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from simflow.data.order import spread
from simflow.evaluate.collect import Held, collect
from simflow.evaluate.extractors import Extractor, Identity, Seen
from simflow.evaluate.generation import GenerationConfig, halves, in_proportion, judge
from simflow.evaluate.inception_score import inception_score
from simflow.evaluate.manifold import compare
from simflow.evaluate.reference import of_collected
from simflow.frechet import frechet_distance

QUICK = GenerationConfig(groups=4, subsets=4, subset=60)


class Toy(Extractor):
    """Eight random projections of the pixels, the first two as spatial features, and three classes."""

    def __init__(self, suffix: str = "Toy") -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.project = nn.Parameter(torch.randn(48, 8, generator=generator))
        self.identity = Identity(
            name="toy",
            suffix=suffix,
            network="toy",
            dimension=8,
            resize="none",
            size=4,
            scaling="x / 255",
            weights="seed 1",
            sha256="0",
        )
        self.eval()

    def see(self, images):
        features = images.flatten(1).float() / 255 @ self.project
        return Seen(features, features[:, :2] ** 2, features[:, :3].softmax(dim=1))


def pictures(count, seed=0, high=256):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(high, (count, 3, 4, 4), dtype=torch.uint8, generator=generator)
    return Held(pixels=pixels, labels=torch.arange(count) % 3, class_names=("a", "b", "c"))


def seen(count, seed=0, high=256, **options):
    return collect(Toy(), pictures(count, seed, high), probabilities=True, **options)


def test_the_batch_does_not_matter():
    one, other = seen(101, batch=7), seen(101, batch=64)
    torch.testing.assert_close(one.features, other.features)
    whole = one.features.double()
    for collected in (one, other):
        assert collected.count == collected.moments.count == 101
        gaussian = collected.moments.gaussian()
        torch.testing.assert_close(gaussian.mean, whole.mean(dim=0), rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(gaussian.covariance, whole.T.cov(), rtol=1e-5, atol=1e-7)
        assert [half.count for half in collected.spatial] == [51, 50]
        assert collected.probabilities.shape == (101, 3)
    reference = of_collected(seen(150, seed=3))
    figures = [judge(Toy().identity, collected, reference, QUICK) for collected in (one, other)]
    for a, b in zip(*figures, strict=True):
        assert (a.name, a.value) == (b.name, pytest.approx(b.value, rel=1e-5))
        assert (a.standard_error or 0) == pytest.approx(b.standard_error or 0, rel=1e-4)


def test_kept_features_are_evenly_spread():
    collected = seen(101, keep=10, batch=8)
    assert torch.equal(collected.features, seen(101).features[spread(101, 10)])
    assert collected.moments.count == 101


def test_figures_and_floors():
    real, same, dark = seen(400, seed=1), seen(200, seed=2), seen(200, seed=3, high=160)
    reference = of_collected(real)
    names = ["FD-Toy", "sFID", "IS", "KD-Toy", "precision", "recall", "density", "coverage"]
    good, bad = (
        {figure.name: figure for figure in judge(Toy().identity, s, reference, QUICK)} for s in (same, dark)
    )
    assert list(good) == names == list(bad)
    assert good["FD-Toy"].value == pytest.approx(
        frechet_distance(real.moments.gaussian(), same.moments.gaussian()).distance
    )
    low, high = good["FD-Toy"].interval
    assert low < good["FD-Toy"].value < high
    for name in ("FD-Toy", "KD-Toy", "sFID"):
        assert bad[name].value > 5 * bad[name].floor
        assert good[name].value < bad[name].value
    assert 0.3 < good["FD-Toy"].value / good["FD-Toy"].floor < 3
    assert good["FD-Toy"].detail["floor_counts"] == [200, 200]
    assert not good["FD-Toy"].detail["rank_deficient"]
    for name in ("precision", "recall", "density", "coverage"):
        assert good[name].value == pytest.approx(good[name].floor, abs=0.2)
    assert bad["precision"].value > good["precision"].value  # less spread, so inside, but not everywhere
    assert bad["recall"].value < good["recall"].value - 0.1
    assert bad["coverage"].value < good["coverage"].value - 0.1
    assert good["precision"].detail["k"] == 3
    assert good["coverage"].detail["k"] == 5


def test_precision_is_a_share_of_samples_and_all_have_errors():
    figures = judge(Toy().identity, seen(200, seed=2), of_collected(seen(400, seed=1)), QUICK)
    errors = {figure.name: figure.standard_error for figure in figures}
    p = next(figure.value for figure in figures if figure.name == "precision")
    assert errors["precision"] == pytest.approx(math.sqrt(p * (1 - p) / 200))
    assert all(errors[name] > 0 for name in ("FD-Toy", "IS", "recall", "density", "coverage"))
    none = judge(Toy().identity, seen(200, seed=2), of_collected(seen(400, seed=1)), replace(QUICK, groups=0))
    assert {figure.name for figure in none if figure.standard_error is not None} == {"precision"}


def test_floors_are_of_real_images_in_the_place_of_samples():
    """Fewer samples than real images: their region is coarser, so the floors of precision and recall differ."""
    real = seen(400, seed=1)
    figures = {f.name: f for f in judge(Toy().identity, seen(60, seed=2), of_collected(real), QUICK)}
    parts = in_proportion(real.features, 60, 400, seed=QUICK.seed)
    near, wide = (compare(parts.others, parts.ones, k=k) for k in (3, 5))
    assert len({near.precision, near.recall, wide.density, wide.coverage}) == 4
    for name, whole in {"precision": near, "recall": near, "density": wide, "coverage": wide}.items():
        assert figures[name].floor == getattr(whole, name)


def test_the_inception_score_is_taken_in_splits_of_a_size():
    samples, reference = seen(200), of_collected(seen(100, seed=1))
    for split, splits in ((5000, 1), (60, 3)):
        config = replace(QUICK, split=split, groups=0)
        figure = {f.name: f for f in judge(Toy().identity, samples, reference, config)}["IS"]
        assert figure.value == inception_score(samples.probabilities, splits=splits).mean


def test_a_part_of_the_features_has_no_error():
    reference = of_collected(seen(100, seed=1))
    whole, part = (judge(Toy().identity, seen(100, keep=k), reference, QUICK)[0] for k in (None, 50))
    assert whole.value == pytest.approx(part.value)
    assert (whole.standard_error is None, part.standard_error is None) == (False, True)


def test_halves_are_disjoint_and_as_many_as_samples():
    features = torch.arange(300.0)[:, None]
    parts = halves(features, 50, seed=0)
    assert (len(parts.ones), len(parts.others)) == (50, 250)
    assert not set(parts.ones.flatten().tolist()) & set(parts.others.flatten().tolist())
    assert [len(part) for part in halves(features, 999, seed=0)] == [150, 150]
    assert halves(features[:10], 5, seed=0) is None


@pytest.mark.parametrize(
    ("samples", "real", "counts"),
    [
        (150, 100, [150, 100]),  # enough of both
        (250, 50, [250, 50]),
        (400, 200, [200, 100]),  # half of both
        (100, 300, [75, 225]),
        (100_000, 300, [268, 32]),  # at least 32
    ],
)
def test_stand_ins_keep_the_proportion_of_samples_to_real_images(samples, real, counts):
    parts = in_proportion(torch.arange(300.0)[:, None], samples, real, seed=0)
    assert [len(part) for part in parts] == counts
    assert not set(parts.ones.flatten().tolist()) & set(parts.others.flatten().tolist())


def test_far_too_few_real_images_stand_in_for_nothing():
    assert in_proportion(torch.zeros(63, 1), 50, 63, seed=0) is None


@pytest.mark.parametrize(("images", "counts"), [(1300, [1000, 200]), (200, [166, 34])])
def test_samples_as_good_as_real_images_reach_the_floor(images, counts):
    """Five samples for each real image, be there enough others to stand in for them or not."""
    reference = of_collected(seen(images, seed=1))
    config = replace(QUICK, groups=0, real_images=200)
    figures = {f.name: f for f in judge(Toy().identity, seen(1000, seed=2), reference, config)}
    for name in ("precision", "recall", "density", "coverage"):
        assert figures[name].detail["samples"] == 1000
        assert figures[name].detail["real"] == 200
        assert figures[name].detail["floor_counts"] == counts
    for name in ("precision", "recall", "density"):
        assert figures[name].value == pytest.approx(figures[name].floor, abs=0.08 if images > 1000 else 0.2)
    assert figures["coverage"].value == figures["coverage"].floor == 1


def test_three_images_are_refused():
    with pytest.raises(ValueError, match="a FD-Toy of 8 numbers from 3 images says nothing"):
        judge(Toy().identity, seen(3), of_collected(seen(100)), QUICK)
    with pytest.raises(ValueError, match="from 20 images says nothing"):
        judge(Toy().identity, seen(100), of_collected(seen(20)), QUICK)
