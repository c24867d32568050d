"""FD-loss: value and gradient are those of the Fréchet distance, the population is that of the last steps."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from simflow.frechet import Gaussian, Moments, frechet_distance
from simflow.losses.frechet import FrechetConfig, Population
from simflow.losses.perceptual import SqueezeNetDistance
from simflow.losses.vit import DinoV2
from simflow.shapes import NULL
from tests.laws.cases import normal
from tests.losses.tiny_vit import tiny_file

RIDGE = 1e-3


def alone(x):
    """The mean over one process."""
    return x


def gaussian_of(features):
    moments = Moments(features.shape[1])
    moments.add(features)
    return moments.gaussian()


def real_gaussian(width=5):
    return gaussian_of(normal(400, width, seed=3) @ normal(width, width, seed=4) + normal(width, seed=5))


def population(real, *, memory=1, ridge=RIDGE):
    made = Population(len(real.mean), memory=memory, ridge=ridge)
    made.compare_with(real)
    return made


def settled(made, *batches):
    for batch in batches:
        made.distance(batch)
        made.settle(alone)
    return made


def ridged_distance(features, real):
    """The distance by its formula, differentiable, in units of the spread, with the ridge and divisors of n."""
    spread = real.covariance.trace().sqrt()
    scaled = features / spread
    floor = RIDGE * torch.eye(len(real.mean)).double()
    mean = scaled.mean(dim=0)
    own = (scaled - mean).T @ (scaled - mean) / len(scaled) + floor
    other = real.covariance / spread**2 + floor
    roots = torch.linalg.eigvals(own @ other).real.sqrt().sum()
    return (mean - real.mean / spread).square().sum() + own.trace() + other.trace() - 2 * roots


def test_value_and_gradient_are_those_of_the_distance():
    real = real_gaussian()
    features = (0.7 * normal(60, 5, seed=6) + 0.3).requires_grad_()
    made = settled(population(real), features.detach())
    distance = made.distance(features)
    expected = ridged_distance(features, real)
    torch.testing.assert_close(distance, expected)
    (found,) = torch.autograd.grad(distance, features)
    (wanted,) = torch.autograd.grad(expected, features)
    torch.testing.assert_close(found, wanted)


def test_with_hardly_a_ridge_it_is_the_distance_that_is_measured():
    real, features = real_gaussian(), 0.7 * normal(4000, 5, seed=6) + 0.3
    made = settled(population(real, ridge=1e-9), features)
    measured = frechet_distance(gaussian_of(features), real).distance / real.covariance.trace()
    torch.testing.assert_close(made.distance(features), measured, atol=1e-3, rtol=1e-3)


def test_what_is_carried_has_the_moments_of_the_training_images():
    real, features = real_gaussian(), 0.7 * normal(4000, 5, seed=6) + 0.3
    spread = real.covariance.trace().sqrt()
    aim = settled(population(real, ridge=1e-9), features).aimed()
    found = gaussian_of(spread * aim.of(features / spread))
    torch.testing.assert_close(found.mean, real.mean, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.covariance, real.covariance, atol=2e-3, rtol=2e-3)


def test_a_whole_step_against_the_gradient_arrives():
    """Each sample is pulled to where it would be carried: half of ``n spread^2`` times the slope leads there."""
    real, features = real_gaussian(), (0.7 * normal(400, 5, seed=6) + 0.3).requires_grad_()
    made = settled(population(real), features)
    before = made.distance(features)
    (slope,) = torch.autograd.grad(before, features)
    made.waiting.clear()
    settled(made, features.detach() - len(features) / 2 * made.spread**2 * slope)
    assert made.distance(features) < 1e-3 * before


@pytest.mark.parametrize("memory", [1, 2, 3])
def test_the_population_is_that_of_the_last_steps(memory):
    """The mean of what there was until there are so many steps, then a running one."""
    made = population(real_gaussian(), memory=memory)
    batches = [normal(20, 5, seed=seed) + seed for seed in range(5)]
    mean, second = torch.zeros(5).double(), torch.zeros(5, 5).double()
    for number, batch in enumerate(batches, start=1):
        settled(made, batch)
        scaled, share = batch / made.spread, 1 / min(number, memory)
        mean = (1 - share) * mean + share * scaled.mean(dim=0)
        second = (1 - share) * second + share * (scaled.T @ scaled / 20)
        torch.testing.assert_close(made.mean, mean)
        torch.testing.assert_close(made.second, second)


def test_until_it_knows_a_population_nothing_is_pulled():
    made = population(real_gaussian(), memory=3)
    for step in range(5):
        features = normal(20, 5, seed=step).requires_grad_()
        (slope,) = torch.autograd.grad(made.distance(features), features)
        assert bool(slope.any()) == (step >= 3)
        made.settle(alone)


def test_samples_of_several_pieces_join_together():
    whole, parts = population(real_gaussian()), population(real_gaussian())
    features = normal(30, 5)
    settled(whole, features)
    for part in features.split([20, 10]):
        parts.distance(part)
    parts.settle(alone)
    torch.testing.assert_close(parts.mean, whole.mean)
    torch.testing.assert_close(parts.second, whole.second)
    assert parts.steps == whole.steps == 1


def test_a_step_without_numbers_is_left_out():
    made = settled(population(real_gaussian()), normal(20, 5))
    before = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    broken = normal(20, 5)
    broken[3, 2] = float("nan")
    settled(made, broken)
    assert all(torch.equal(before[name], tensor) for name, tensor in made.state_dict().items())


def test_a_filled_state_gives_the_same_distance():
    made = settled(population(real_gaussian()), normal(20, 5))
    other = Population(5, memory=1, ridge=RIDGE)
    other.load_state_dict(made.state_dict())
    features = normal(8, 5, seed=9)
    assert torch.equal(other.distance(features), made.distance(features))


# The network, and the way of the gradient.


CONFIG = FrechetConfig(size=32, maps=(2, 7), memory=1)
NO_CLASS = torch.full((40,), NULL)


def test_features_are_means_of_the_maps_that_are_named():
    loss, images = CONFIG.build(), normal(3, 1, 32, 32).clamp(-1, 1).float()
    maps = SqueezeNetDistance().build().backbone(images)
    for found, number in zip(loss.look(images, NO_CLASS[:3]), (2, 7), strict=True):
        torch.testing.assert_close(found, maps[number - 1].mean(dim=(2, 3)))


def test_a_transformer_looks_as_well(tmp_path):
    """Its side is the greatest multiple of 14 that ``size`` has room for, or its own."""
    images = normal(3, 1, 32, 32).clamp(-1, 1).float()
    for side, patches in ((None, 2), (42, 3)):
        vit = DinoV2(source=tiny_file(tmp_path), block=2, side=side)
        loss = replace(CONFIG, vit=vit).build()
        assert loss.eyes.widths == (128, 512, 64)
        assert [each.width for each in loss.populations.each()] == [128, 512, 64]
        *maps, patched = loss.look(images, NO_CLASS[:3])
        for found, plain in zip(maps, CONFIG.build().look(images, NO_CLASS[:3]), strict=True):
            assert torch.equal(found, plain)
        seen = vit.build("objective.frechet.vit").features(images, (patches, patches))
        torch.testing.assert_close(patched, seen.mean(dim=(2, 3)))
        assert not any(parameter.requires_grad for parameter in loss.parameters())


def test_a_transformer_that_is_not_to_be_had_is_named(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ValueError, match=r"--objective\.frechet\.vit\.source"):
        replace(CONFIG, vit=DinoV2(source="nobody/nothing")).build()


def test_images_come_to_the_size_of_the_network():
    loss, images = CONFIG.build(), normal(3, 1, 16, 16).clamp(-1, 1).float()
    larger = nn.functional.interpolate(images, size=32, mode="bilinear")
    for found, expected in zip(*(loss.look(each, NO_CLASS[:3]) for each in (images, larger)), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-4)


def test_the_loss_is_the_mean_over_the_maps():
    """So its weight means the same whichever maps are looked at."""
    torch.manual_seed(0)
    loss = CONFIG.build()
    seen = [Moments(width) for width in loss.eyes.widths]
    assert len(seen) > 1
    with torch.no_grad():
        for moments, features in zip(seen, loss.look(normal(40, 1, 32, 32).float(), NO_CLASS), strict=True):
            moments.add(features)
        loss.populations.compare_with(seen)
        images, labels = normal(6, 1, 32, 32, seed=8).float(), NO_CLASS[:6]
        loss(images, labels)
        loss.populations.settle(alone)
        maps = zip(loss.populations.each(), loss.look(images, labels), strict=True)
        apart = [float(each.distance(features)) for each, features in maps]
        assert float(loss(images, labels)) == pytest.approx(sum(apart) / len(apart), rel=1e-4)


def test_its_gradient_reaches_latents_and_no_decoder():
    torch.manual_seed(0)
    loss, decoder = CONFIG.build(), nn.ConvTranspose2d(2, 1, 8, stride=8)
    seen = [Moments(width) for width in loss.eyes.widths]
    with torch.no_grad():
        for moments, features in zip(seen, loss.look(normal(40, 1, 32, 32).float(), NO_CLASS), strict=True):
            moments.add(features)
    loss.populations.compare_with(seen)
    latents = normal(6, 2, 4, 4, seed=8).float().requires_grad_()
    labels = NO_CLASS[:6]
    loss(decoder(latents.detach()), labels)
    loss.populations.settle(alone)
    (plain,) = torch.autograd.grad(loss(decoder(latents), labels), latents)
    again = loss.seen_through(decoder, latents, labels)
    again.backward()
    assert plain.abs().max() > 0
    torch.testing.assert_close(latents.grad, plain)
    assert all(parameter.grad is None for parameter in decoder.parameters())
    torch.testing.assert_close(again, loss(decoder(latents), labels))


def test_its_network_stands_still_and_only_moments_are_kept():
    loss = CONFIG.build().train()
    assert not any(parameter.requires_grad for parameter in loss.parameters())
    assert not loss.eyes.training
    kinds = {name.split(".")[1] for name in loss.populations.state_dict()}
    assert kinds == {"spread", "real_mean", "real_root", "mean", "second", "steps"}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"maps": (3, 8)}, "maps of SqueezeNet from 1 to 7"),
        ({"maps": ()}, "maps of SqueezeNet from 1 to 7"),
        ({"size": 8}, "objective.frechet.size must be at least 17"),
        ({"memory": 0}, "objective.frechet.memory must be at least 1"),
        ({"ridge": 0.0}, "objective.frechet.ridge must be a finite number above 0"),
        ({"classes": -1.0}, "objective.frechet.classes must be a finite number from 0 on"),
        ({"weight": -1.0}, "objective.frechet.weight must be a finite number above 0"),
    ],
)
def test_wrong_settings_are_named(wrong, said):
    with pytest.raises(ValueError, match=said):
        FrechetConfig(**wrong)


def test_one_image_is_no_distribution():
    loss = CONFIG.build()
    seen = [Moments(width) for width in loss.eyes.widths]
    for moments, width in zip(seen, loss.eyes.widths, strict=True):
        moments.add(torch.zeros(1, width))
    with pytest.raises(ValueError, match="at least 2 images"):
        loss.populations.compare_with(seen)


def test_a_gaussian_is_taken_over_in_units_of_its_spread():
    made = population(Gaussian(torch.tensor([3.0, 1.0]).double(), torch.tensor([[3.0, 0], [0, 1]]).double()))
    torch.testing.assert_close(made.spread, torch.tensor([2.0, 2.0]).double())
    torch.testing.assert_close(made.real_mean, torch.tensor([1.5, 0.5]).double())
    expected = torch.tensor([[0.75, 0], [0, 0.25]]).double() + RIDGE * torch.eye(2).double()
    torch.testing.assert_close(made.real_root @ made.real_root, expected)


# Classes beside the features (the Fréchet joint distance).


def two_classes(*, swapped=False, count=4000):
    """Features of two classes, one on each side of nought, and their classes."""
    labels = torch.arange(count) % 2
    features = normal(count, 3, seed=11)
    features[:, 0] += torch.where((labels == 1) ^ swapped, 2.0, -2.0)
    return torch.cat([features, torch.nn.functional.one_hot(labels, 2).double()], dim=1)


def beside(real, weight=1.0):
    made = Population(3, 2, beside=weight, memory=1, ridge=1e-6)
    made.compare_with(gaussian_of(real))
    return made


def test_classes_that_look_like_each_other_are_told_apart_by_the_joint_distance_only():
    """Swapped classes have the same pictures together."""
    right, swapped = two_classes(), two_classes(swapped=True)
    plain = settled(population(gaussian_of(right[:, :3]), ridge=1e-6), swapped[:, :3])
    assert plain.distance(swapped[:, :3]) < 1e-2
    assert settled(beside(right), right).distance(right) < 1e-2
    assert settled(beside(right), swapped).distance(swapped) > 0.5


def test_a_step_against_the_joint_gradient_gives_each_class_its_own_pictures():
    right = two_classes()
    features = two_classes(swapped=True)[:, :3].requires_grad_()
    classes = right[:, 3:]
    made = beside(right)
    settled(made, torch.cat([features.detach(), classes], dim=1))
    for _ in range(20):
        (slope,) = torch.autograd.grad(made.distance(torch.cat([features, classes], dim=1)), features)
        made.waiting.clear()
        features = (features - len(features) / 2 * made.spread[:3] ** 2 * slope).detach().requires_grad_()
        settled(made, torch.cat([features.detach(), classes], dim=1))
    assert features[classes[:, 1] == 1, 0].mean() > 1.5
    assert features[classes[:, 0] == 1, 0].mean() < -1.5


def test_the_spread_of_classes_is_the_one_asked_for():
    scaled = two_classes() / beside(two_classes(), weight=0.25).spread
    torch.testing.assert_close(scaled[:, :3].var(dim=0).sum(), torch.tensor(1.0).double())
    torch.testing.assert_close(scaled[:, 3:].var(dim=0).sum(), torch.tensor(0.25**2).double())


def test_classes_stand_beside_what_the_network_sees():
    images, labels = normal(4, 1, 32, 32).float(), torch.tensor([2, 0, NULL, 1])
    plain = CONFIG.build(classes=3).look(images, labels)
    joint = replace(CONFIG, classes=0.5).build(classes=3).look(images, labels)
    own = torch.tensor([[0, 0, 1.0], [1, 0, 0], [0, 0, 0], [0, 1, 0]])
    for features, both in zip(plain, joint, strict=True):
        assert torch.equal(both, torch.cat([features, own], dim=1))


def test_without_classes_none_can_be_looked_at():
    with pytest.raises(ValueError, match=r"objective\.frechet\.classes needs classes"):
        replace(CONFIG, classes=0.5).build()
