"""Fréchet distances of a sweep: the same as anywhere else, against real images that are looked at once."""

import dataclasses
from dataclasses import replace

import pytest
import torch

from simflow import settings
from simflow.analysis.analyze import over_guidance
from simflow.analysis.distances import Distances, seen, yardstick
from simflow.analysis.record import Plan
from simflow.analysis.sweep import Judge, Sweep, sweep
from simflow.autoencoder.compact import CompactConfig
from simflow.config import RunConfig
from simflow.data.config import DataConfig
from simflow.data.images import load
from simflow.evaluate.choose import Chosen
from simflow.evaluate.generation import gaussian_of
from simflow.evaluate.recognition import fitted_to
from simflow.flow.block import BlockConfig
from simflow.flow.score import GuidedScoreStep, ScoreDenoise
from simflow.flow.stack import FlowConfig
from simflow.frechet import frechet_distance
from simflow.model import Facts, ModelConfig
from simflow.pipeline import Pipeline
from simflow.sample import SampleConfig
from simflow.shapes import NULL
from simflow.sit.guidance import ClassifierFree
from simflow.sit.prior import SiTConfig
from simflow.sit.solver import Heun
from tests.analysis.network import Squares
from tests.analysis.test_sweep import LABELS, images, real_images
from tests.whole.tiny import pictures

REAL = images(1.0, 0.5, seed=1).repeat(2, 1, 1, 1)


def judge(*sticks) -> Judge:
    return Judge(recogniser=fitted_to(real_images()), accuracy=1.0, yardsticks=sticks)


def draw(weight: float) -> torch.Tensor:
    """Right in contrast at a weight of 1."""
    return images(0.5 + weight / 2, 0.5, seed=3)


def swept(*sticks) -> Sweep:
    (found,) = sweep(
        lambda weight: [draw(weight)], LABELS, judge(*sticks), weights=(0.0, 1.0, 3.0), rule="Toy"
    )
    return found


def test_real_images_are_looked_at_once_and_samples_once_a_weight():
    network = Squares()
    stick = yardstick(network, REAL, samples=40)
    assert network.shown == len(REAL)
    found = swept(stick)
    assert network.shown == len(REAL) + 3 * 40
    (far,) = found.distances
    assert (far.real, far.floor_images, far.name) == (80, 40, "FD-Squares")
    real = gaussian_of(seen(Squares(), REAL))
    for value, weight in zip(far.values, found.weights, strict=True):
        expected = frechet_distance(real, gaussian_of(seen(Squares(), draw(weight)))).distance
        assert value == pytest.approx(expected, rel=1e-9)
    assert min(far.values) == far.values[1]


def test_the_floor_is_of_real_images_and_close():
    (far,) = swept(yardstick(Squares(), REAL, samples=40)).distances
    assert 0 < far.floor < far.values[0]
    assert not far.rank_deficient
    again = yardstick(Squares(), REAL, samples=40)
    assert again.floor == far.floor


def test_too_few_real_images_have_no_floor_and_still_fewer_no_distance():
    stick = yardstick(Squares(), REAL[:40], samples=40)
    assert (stick.floor, stick.floor_images) == (None, 0)
    with pytest.raises(ValueError, match="from 31 images says nothing"):
        yardstick(Squares(), REAL, samples=31)
    with pytest.raises(ValueError, match="from 31 images says nothing"):
        yardstick(Squares(), REAL[:31], samples=40)


def test_few_images_for_many_numbers_are_remarked():
    class Wide(Squares):
        def see(self, images):
            return super().see(images)._replace(features=images.flatten(1).float())

    network = Wide()
    network.identity = dataclasses.replace(network.identity, dimension=64)
    assert swept(yardstick(network, REAL, samples=40)).distances[0].rank_deficient


def test_several_networks_and_none():
    sticks = [yardstick(Squares(name), REAL, samples=40) for name in ("One", "Two")]
    assert [each.name for each in swept(*sticks).distances] == ["FD-One", "FD-Two"]
    assert swept().distances == ()


def test_a_prior_without_a_density_is_swept_without_score_steps(tmp_path):
    data_path = str(pictures(tmp_path) / "train")
    data = load(DataConfig(path=data_path, image_size=16, channels=1, split=None))
    config = ModelConfig(
        autoencoder=CompactConfig(latent_channels=2, patch=4, widths=(8, 8)),
        prior=SiTConfig(width=8, depth=1, heads=2, solver=Heun(steps=1)),
    )
    facts = Facts(image_size=16, channels=1, class_names=data.class_names)
    recipe = RunConfig(
        name="sit",
        data=DataConfig(path="nowhere", image_size=16, channels=1),
        model=config,
        sample=SampleConfig(guidance=ClassifierFree()),
    )
    pipe = Pipeline(config.build(facts), recipe)
    plan = Plan(samples=6, weights=(0.0,), gammas=(0.25,))
    found, _, left_out = over_guidance(pipe, data, data, plan, Chosen([Squares()], ["no weights"]))
    assert [sweep.gamma for sweep in found] == [None]
    assert [line.split(": ", 1)[1] for line in left_out[::2]] == ["no weights.", "the prior has no density."]
    assert "from 6 images says nothing" in left_out[1]
    unlabelled = load(DataConfig(path=data_path, image_size=16, channels=1, split=None))
    unlabelled.labels.fill_(NULL)
    _, _, left_out = over_guidance(pipe, unlabelled, data, plan, Chosen([Squares()], []))
    assert left_out == ["The guidance sweep is left out: no held-out image has a class."]
    pipe.model.prior.rules = ()
    _, _, left_out = over_guidance(pipe, data, data, plan, Chosen([Squares()], []))
    assert left_out == ["The guidance sweep is left out: the prior follows no rule of guidance."]


@pytest.mark.parametrize(
    "own", [ScoreDenoise(std=0.5), GuidedScoreStep(gamma=0.1), None], ids=["denoise", "own step", "none"]
)
def test_a_sweep_of_size_zero_goes_without_the_refinement_of_the_run(tmp_path, own):
    data = load(DataConfig(path=str(pictures(tmp_path) / "train"), image_size=16, channels=1, split=None))
    config = ModelConfig(
        autoencoder=CompactConfig(latent_channels=2, patch=4, widths=(8, 8)),
        prior=FlowConfig(depths=(1,), block=BlockConfig(width=8, heads=2)),
    )
    torch.manual_seed(0)
    model = config.build(Facts(image_size=16, channels=1, class_names=data.class_names))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape)
    recipe = RunConfig(
        name="x",
        data=DataConfig(path="nowhere", image_size=16, channels=1),
        model=config,
        sample=SampleConfig(refinement=own),
    )
    plan = Plan(samples=6, weights=(0.0, 1.0), gammas=(0.0, 0.25))
    found, shown, _ = over_guidance(Pipeline(model, recipe), data, data, plan, Chosen([], []))
    without = [None, 0.0, 0.25] if isinstance(own, ScoreDenoise) else [None, 0.25]
    assert [sweep.gamma for sweep in found] == without
    plain = replace(recipe, sample=SampleConfig())
    (bare, _), bare_shown, _ = over_guidance(Pipeline(model, plain), data, data, plan, Chosen([], []))
    images = shown["guidance-score-step-0" if isinstance(own, ScoreDenoise) else "guidance"].images
    assert torch.equal(images, bare_shown["guidance"].images)
    assert found[1 if isinstance(own, ScoreDenoise) else 0].diversity == bare.diversity
    if isinstance(own, ScoreDenoise):
        assert not torch.equal(images, shown["guidance"].images)


def test_the_record_survives_json():
    found = swept(yardstick(Squares(), REAL, samples=40))
    assert settings.from_dict(Sweep, settings.to_dict(found)) == found
    assert isinstance(found.distances[0], Distances)
