"""Learning from samples: what FD-loss moves, what it is compared with, and that it is saved with a run."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from simflow.cli import main
from simflow.data.images import from_arrays
from simflow.fitting import initial
from simflow.flow.guidance import GaussianProduct
from simflow.frechet import Moments
from simflow.losses.frechet import FrechetConfig, Population
from simflow.model import Facts
from simflow.objective import Objective, ObjectiveConfig, Routing, comparable
from simflow.pixels import to_float, to_uint8
from simflow.recipes import get
from simflow.seeding import generator
from simflow.settings import override
from simflow.sit.prior import SiTConfig
from simflow.train.populations import look_at
from tests.laws.cases import normal
from tests.test_objective import IMAGES as WIDE
from tests.test_objective import LABELS, objective_of
from tests.test_objective_routing import moved_by
from tests.whole.test_processes import two_processes
from tests.whole.tiny import words

IMAGES = WIDE.float()
FRECHET = FrechetConfig(size=32, maps=(2, 7), memory=1, weight=2.0)
GUIDED = GaussianProduct(weight=1.0)
FLAGS = ["--objective.frechet", "{size: 32, maps: [2, 4], memory: 2, weight: 1.0}"]


def pictures(count=24, channels=3):
    drawn = torch.randint(0, 256, (count, channels, 8, 8), generator=torch.Generator().manual_seed(0))
    return from_arrays(drawn.byte().numpy(), labels=[i % 3 for i in range(count)])


def learning(**choices):
    """An objective that knows its images and a population of one step."""
    config = replace(ObjectiveConfig(frechet=FRECHET, label_drop=0.0), **choices)
    objective = Objective(config, objective_of().model.float(), guidance=GUIDED)
    look_at(pictures(), objective.frechet, flip=False, dtype="float32")
    objective(IMAGES, LABELS, generator(5))
    objective.frechet.populations.settle(lambda x: x)
    return objective


def test_it_moves_the_prior_and_nothing_else():
    objective = learning()
    model, losses = objective.model, objective(IMAGES, LABELS, generator(0))
    parts = {
        "encoder": model.autoencoder.encoder_parts(),
        "decoder": model.autoencoder.decoder_parts(),
        "prior": (model.prior,),
    }
    assert moved_by(losses.frechet, parts) == {"prior"}
    assert moved_by(losses.total, parts) == set(parts)


def test_it_is_a_term_beside_the_others_and_changes_none_of_them():
    with_it, without = learning(), Objective(ObjectiveConfig(label_drop=0.0), objective_of().model.float())
    one, other = (each(IMAGES, LABELS, generator(0)) for each in (with_it, without))
    assert torch.equal(one.prior, other.prior)
    assert torch.equal(one.reconstruction, other.reconstruction)
    torch.testing.assert_close(one.total, other.total + one.frechet)
    assert one.frechet > 0


def test_its_samples_are_those_that_the_model_generates():
    """The same noise and labels, decoded, are what the network sees."""
    objective = learning()
    seen = []
    objective.frechet.eyes.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
    draws = generator(0)
    objective(IMAGES, LABELS, draws)
    again = generator(0)
    model = objective.model
    model.encode(IMAGES, again)
    noise = torch.randn((4, *model.prior.noise_shape), generator=again)
    expected = model.generate(noise, LABELS, guidance=GUIDED)
    torch.testing.assert_close(seen[0], expected, atol=1e-4, rtol=1e-4)


def test_without_learning_nothing_is_sampled():
    objective = learning()
    before = {name: tensor.clone() for name, tensor in objective.frechet.populations.state_dict().items()}
    assert objective.eval()(IMAGES, LABELS, generator(0)).frechet is None
    after = objective.frechet.populations.state_dict()
    assert all(torch.equal(before[name], tensor) for name, tensor in after.items())
    assert comparable({"total": 1, "prior": 0, "frechet": 1}, {"total": 3, "prior": 2}) == {"prior": 2}


def test_training_brings_the_samples_nearer():
    """The images are what the model would draw from other noise: a few steps on samples alone go most of the way."""
    torch.manual_seed(0)
    model = objective_of().model.float()
    labels = torch.arange(48) % 3
    with torch.no_grad():
        drawn = model.generate(0.5 * torch.randn(48, *model.prior.noise_shape) + 1, labels)
    config = ObjectiveConfig(frechet=replace(FRECHET, maps=(2,)), label_drop=0.0, prior_weight=1e-9)
    objective = Objective(config, model)
    look_at(from_arrays(to_uint8(drawn.clamp(-1, 1)).numpy()), objective.frechet, flip=False, dtype="float32")
    optimizer = torch.optim.Adam(model.prior.parameters(), lr=3e-2)
    far = []
    for step in range(16):
        losses = objective(torch.zeros(48, 3, 8, 8), labels, generator(step))
        optimizer.zero_grad()
        losses.frechet.backward()
        optimizer.step()
        objective.frechet.populations.settle(lambda x: x)
        far.append(float(losses.frechet.detach()))
    assert far[-1] < 0.5 * far[1]


def test_what_it_is_compared_with():
    """Moments of all images as the network sees them; where half are mirrored, every second one is."""
    images = pictures()
    for flip in (False, True):
        loss = FRECHET.build()
        look_at(images, loss, flip=flip, dtype="float32")
        signed = to_float(images.images(range(24)))
        if flip:
            signed[1::2] = signed[1::2].flip(-1)
        for population, features in zip(
            loss.populations.each(), loss.look(signed, images.labels), strict=True
        ):
            moments = Moments(features.shape[1])
            moments.add(features)
            real = moments.gaussian()
            spread = real.covariance.trace().sqrt()
            torch.testing.assert_close(population.spread, spread.expand(len(real.mean)))
            torch.testing.assert_close(population.real_mean, real.mean / spread)


def test_near_duplicates_are_looked_at_once():
    images, whole, once = pictures(), FRECHET.build(), FRECHET.build()
    images.groups = torch.arange(24) // 4
    look_at(images.once(), whole, flip=False, dtype="float32")
    look_at(images, once, flip=False, dtype="float32")
    for one, other in zip(whole.populations.each(), once.populations.each(), strict=True):
        assert torch.equal(one.real_mean, other.real_mean)


def test_classes_are_those_of_the_images_and_of_the_samples():
    """Their shares are the means of what stands beside the features: a third each, and those of the batch."""
    objective = learning(frechet=replace(FRECHET, classes=0.5), label_drop=0.9)
    images, shares = pictures(), torch.nn.functional.one_hot(LABELS, 3).double().mean(dim=0)
    assert not torch.allclose(shares, torch.full((3,), 1 / 3).double(), atol=0.05)
    for population in objective.frechet.populations.each():
        assert len(population.spread) == population.width + 3
        beside = population.spread[population.width :]
        torch.testing.assert_close(beside, beside[:1].expand(3))
        real = images.labels.bincount(minlength=3).double() / len(images)
        torch.testing.assert_close(population.real_mean[population.width :] * beside, real)
        torch.testing.assert_close(population.mean[population.width :] * beside, shares)


def test_no_more_images_than_asked_for():
    few, all_of_them = replace(FRECHET, images=5).build(), FRECHET.build()
    for loss in (few, all_of_them):
        look_at(pictures(), loss, flip=False, dtype="float32")
    assert not torch.equal(few.populations.each()[0].real_mean, all_of_them.populations.each()[0].real_mean)


def test_processes_share_one_population():
    """Each has half of the samples; together they have the moments of all."""
    features, whole = normal(20, 4), Population(4, memory=1, ridge=1e-3)
    whole.distance(features)
    whole.settle(lambda x: x)
    halves = features.chunk(2)
    sums = [(half.mean(0), half.T @ half / len(half)) for half in halves]
    together = iter([(a + b) / 2 for a, b in zip(*sums, strict=True)])
    one = Population(4, memory=1, ridge=1e-3)
    one.distance(halves[0])
    one.settle(lambda _: next(together))
    torch.testing.assert_close(one.mean, whole.mean)
    torch.testing.assert_close(one.second, whole.second)


def test_two_processes_look_at_the_same_images(tmp_path):
    common = [*words(tmp_path), *FLAGS, "--steps", "3"]
    done = two_processes([*common, "--out", str(tmp_path / "two")])
    assert done.returncode == 0, done.stderr
    assert main([*common, "--out", str(tmp_path / "one")]) == 0
    one, two = (
        load_file(tmp_path / name / "checkpoints" / "step-0000003" / "populations.safetensors")
        for name in ("one", "two")
    )
    for name, tensor in one.items():
        if "real" in name or "spread" in name or "steps" in name:
            torch.testing.assert_close(two[name], tensor, atol=1e-6, rtol=1e-5)


def test_samples_are_guided_as_those_of_the_run():
    """Without classes they are not."""
    run = override(get("demo"), {"sample.guidance.weight": 3.0})
    for names, expected in ((("a", "b"), run.sample.guidance), ((), None)):
        facts = Facts(image_size=32, channels=1, class_names=names)
        assert initial(run, facts, torch.device("cpu")).guidance == expected


def test_a_run_keeps_what_it_saw(tmp_path):
    """Of the training images once, of samples after every step."""
    assert main([*words(tmp_path), *FLAGS, "--steps", "3", "--out", str(tmp_path / "run")]) == 0
    kept = load_file(tmp_path / "run" / "checkpoints" / "step-0000003" / "populations.safetensors")
    for number in ("0", "1"):
        assert kept[f"{number}.steps"] == 3
        assert (kept[f"{number}.spread"] != 1).all()
        assert all(kept[f"{number}.{name}"].any() for name in ("real_mean", "real_root", "mean", "second"))


def test_a_run_that_learns_from_samples_does_not_go_on_with_others(tmp_path, capsys):
    common = [*words(tmp_path), *FLAGS, "--out", str(tmp_path / "run")]
    assert main([*common, "--steps", "2"]) == 0
    assert main([*common, "--steps", "3", "--sample.guidance.weight", "0.5"]) == 2
    assert "sample.guidance.weight" in capsys.readouterr().err
    assert main([*common, "--steps", "3", "--sample.temperature", "0.5"]) == 0


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ({"routing": Routing(prior="frozen")}, "a prior that is not frozen"),
        ({"prior_weight": 0.0}, "it needs objective.prior_weight"),
    ],
)
def test_the_prior_must_learn(choices, said):
    with pytest.raises(ValueError, match=said):
        ObjectiveConfig(frechet=FRECHET, **choices)


def test_it_is_for_flows():
    model = objective_of(prior=SiTConfig(width=16, depth=1, heads=2)).model
    with pytest.raises(ValueError, match=r"objective\.frechet is for flows"):
        Objective(ObjectiveConfig(frechet=FRECHET), model)
