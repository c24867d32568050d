"""Standard errors by leaving out groups are those of fresh images, for every figure that is printed with one."""

import pytest
import torch

from simflow.evaluate.inception_score import inception_score
from simflow.evaluate.interval import divided, frechet_error, jackknife, paired_error
from simflow.evaluate.manifold import compare, compare_without
from simflow.frechet import Moments, frechet_distance


def normal(count, seed, dimension=4):
    return torch.randn(count, dimension, generator=torch.Generator().manual_seed(seed))


def gaussian(features):
    moments = Moments(features.shape[1])
    moments.add(features)
    return moments.gaussian()


def kept(features, group):
    return features[[n for n in range(len(features)) if n not in set(group.tolist())]]


def test_groups_are_all_images_once():
    groups = divided(103, 20, seed=0)
    assert torch.equal(torch.cat(groups).sort().values, torch.arange(103))
    assert {len(group) for group in groups} == {5, 6}
    assert not torch.equal(groups[0], torch.arange(len(groups[0])))
    assert all(map(torch.equal, groups, divided(103, 20, seed=0)))
    assert len(divided(7, 20, seed=0)) == 7
    assert divided(7, 1, seed=0) == divided(7, 0, seed=0) == divided(1, 20, seed=0) == []


def test_of_a_mean_it_is_that_of_the_textbooks():
    values = normal(50, 0, 1)[:, 0].double()
    without = [kept(values, group).mean().item() for group in divided(50, 50, seed=0)]
    assert jackknife(without) == pytest.approx(values.std().item() / 50**0.5)
    assert jackknife([]) is None


def test_it_is_taken_from_the_distances_of_all_others():
    """Of which means and covariances are parts."""
    real, samples = normal(90, 0) * 2 + 3, normal(60, 1)
    groups = divided(60, 7, seed=5)
    fixed = [frechet_distance(gaussian(real), gaussian(kept(samples, group))).distance for group in groups]
    assert frechet_error(gaussian(real), samples, groups=7, seed=5) == pytest.approx(jackknife(fixed))
    both = [
        frechet_distance(gaussian(kept(real[:60], group)), gaussian(kept(samples, group))).distance
        for group in groups
    ]
    assert paired_error(real[:60], samples, groups=7, seed=5) == pytest.approx(jackknife(both))
    assert frechet_error(gaussian(real), samples, groups=1, seed=5) is None
    assert paired_error(real[:60], samples, groups=0, seed=5) is None


def test_regions_are_taken_anew_without_each_group():
    real, samples = normal(70, 0), normal(50, 1) + 0.3
    groups = divided(50, 6, seed=0)
    for k in (1, 3, 9):  # 9 are more than a group has
        found = compare_without(real, samples, groups, k=k)
        wanted = [
            compare(real, samples, k=k),
            *(compare(real, kept(samples, group), k=k) for group in groups),
        ]
        assert found == [pytest.approx(each) for each in wanted]
    with pytest.raises(ValueError, match="and there are 70 real images and 25 samples"):
        compare_without(real, samples, divided(50, 2, seed=0), k=25)


REAL = normal(300, 99)


def recall(samples):
    return compare(REAL, samples).recall


def coverage(samples):
    return compare(REAL, samples, k=5).coverage


def density(samples):
    return compare(REAL, samples, k=5).density


def score(samples):
    return inception_score(samples.softmax(dim=1), splits=1).mean


def distance(samples):
    return frechet_distance(gaussian(REAL), gaussian(samples)).distance


def distance_of_pairs(samples):
    """What each image loses depends on the image."""
    return frechet_distance(gaussian(samples), gaussian(0.8 * samples + 0.3 * samples.square())).distance


def error_of(figure, samples):
    if figure is distance:
        return frechet_error(gaussian(REAL), samples, groups=20, seed=0)
    if figure is distance_of_pairs:
        return paired_error(samples, 0.8 * samples + 0.3 * samples.square(), groups=20, seed=0)
    groups = divided(len(samples), 20, seed=0)
    if figure is score:
        return jackknife([score(kept(samples, group)) for group in groups])
    k, name = (3, "recall") if figure is recall else (5, figure.__name__)
    return jackknife([getattr(each, name) for each in compare_without(REAL, samples, groups, k=k)[1:]])


@pytest.mark.parametrize(
    ("figure", "least", "most"),
    [
        (density, 0.75, 1.33),
        (score, 0.75, 1.33),
        (distance, 0.75, 1.33),
        (distance_of_pairs, 0.75, 1.33),
        (recall, 1, 2.5),
        (coverage, 1, 2.5),
    ],
    ids=lambda each: getattr(each, "__name__", None),
)
def test_it_is_the_spread_over_fresh_images(figure, least, most):
    """Unions of balls are not smooth: there the jackknife errs towards more (Efron and Stein 1981)."""
    sets = [1.3 * normal(200, seed) for seed in range(80)]
    spread = torch.tensor([figure(each) for each in sets], dtype=torch.float64).std().item()
    printed = torch.tensor([error_of(figure, each) for each in sets[:20]]).square().mean().sqrt().item()
    assert least < printed / spread < most
