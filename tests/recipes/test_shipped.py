"""Recipes of models on real images: their sizes, what their two stages share, and that the second fits the first."""

from dataclasses import replace

import pytest
import torch

from simflow import recipes, settings
from simflow.cli.describe import on_meta
from simflow.config import RunConfig
from simflow.fitting import initial
from simflow.flow.guidance import GaussianProduct
from simflow.flow.score import ScoreDenoise
from simflow.flow.stack import Flow
from simflow.objective import Objective
from simflow.pipeline import Pipeline
from simflow.posterior import FixedVariance
from simflow.records import differences
from simflow.settings import to_dict
from simflow.start import StartFrom, start
from simflow.train.optim import total_steps

SIZES = {  # parameters, tokens, numbers in a token, classes
    "fashion-32": (4_336_196, 16, 32, 10),
    "emoji-32": (4_340_332, 16, 32, 9),
    "emoji-64": (3_799_132, 64, 32, 9),
    "emoji-64-joint": (10_400_620, 64, 32, 9),
    "natural-32": (4_340_812, 16, 32, 10),
    "natural-32-tarflow": (3_922_176, 64, 48, 10),
    "clothing-256": (101_885_059, 256, 64, 10),
}
TWO_STAGES = ["fashion-32", "emoji-32", "emoji-64-joint", "clothing-256"]


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("name", SIZES)
def test_sizes(name):
    run = recipes.get(name)
    model = on_meta(run, run.expected_facts())
    count, tokens, numbers, classes = SIZES[name]
    assert (parameters(model), *model.prior.noise_shape) == (count, tokens, numbers)
    assert run.classes == classes


@pytest.mark.parametrize("name", [*SIZES, "emoji-64-decoder", *(f"{name}-decoder" for name in TWO_STAGES)])
def test_recipes_say_how_they_are_run_and_survive_being_written(name):
    run = recipes.get(name)
    assert run.name == name
    assert f"simflow train {name} --data" in (recipes.recipes()[name].__doc__ or "")
    assert settings.from_dict(RunConfig, settings.to_dict(run)) == run


@pytest.mark.parametrize("name", TWO_STAGES)
def test_the_second_stage_is_the_first_with_another_objective(name):
    """The model, data and guidance are the same; only the decoder learns, with a judge who joins before the end, or
    by the losses of the first."""
    first, second = recipes.get(name), recipes.get(f"{name}-decoder")
    assert all(
        path.startswith(("name", "start_from", "objective", "train"))
        for path in differences(to_dict(first), to_dict(second))
    )
    judge, steps = second.objective.adversarial, total_steps(second.train.stages)
    assert first.objective.adversarial is None
    if judge is None:
        own, losses = first.objective, second.objective
        assert (losses.reconstruction, losses.perceptual) == (own.reconstruction, own.perceptual)
    else:
        assert judge.start_step <= steps / 2
    assert second.train.dtype == first.train.dtype
    objective = Objective(second.objective, on_meta(second, second.expected_facts()))
    trained = {id(parameter) for parameter in objective.parameters() if parameter.requires_grad}
    decoder = objective.model.autoencoder.decoder_parts()
    assert trained == {id(parameter) for part in decoder for parameter in part.parameters()} != set()


def test_emoji_64_is_a_new_flow_on_the_autoencoder_of_emoji_32():
    """Its decoder's stage takes the weights that ship, at twice the side; encoder and codes are the same in both."""
    first, second = recipes.get("emoji-64-decoder"), recipes.get("emoji-64")
    assert first.start_from == StartFrom(path="emoji-32", parts="autoencoder")
    assert second.start_from == StartFrom(parts="autoencoder")
    assert first.model == second.model
    assert first.data == second.data == replace(recipes.get("emoji-32").data, image_size=64)
    model = initial(first, first.expected_facts(), torch.device("cpu")).model
    start(model, first.start_from)
    there = Pipeline.from_pretrained("emoji-32").model
    images = torch.rand(1, 3, 64, 64) * 2 - 1
    torch.testing.assert_close(model.autoencoder.encode(images), there.autoencoder.encode(images))
    for run, parts in ((first, model.autoencoder.decoder_parts()), (second, (model.prior,))):
        objective = Objective(run.objective, model.requires_grad_())
        trained = {id(parameter) for parameter in objective.parameters() if parameter.requires_grad}
        assert trained == {id(parameter) for part in parts for parameter in part.parameters()}
    assert second.train.codes == "kept"


def test_finer_classes_are_taught_to_the_same_flow_with_dropout():
    first, second = recipes.get("emoji-64"), recipes.get("emoji-64-finer")
    assert second.start_from == StartFrom(new_classes=True)
    assert replace(second.data, label=None) == first.data
    assert second.data.label == "subcategory"
    assert second.classes == 98
    assert differences(to_dict(first.model), to_dict(second.model)) == ["prior.block.dropout"]
    assert differences(to_dict(first.sample), to_dict(second.sample)) == ["guidance.weight"]


@pytest.mark.parametrize("name", ["fashion-32", "emoji-32", "natural-32", "clothing-256"])
def test_at_last_the_flow_learns_alone(name):
    """The model and the data are the same; how it is sampled was chosen anew."""
    first, second = recipes.get(name), recipes.get(f"{name}-prior")
    parts = ("name", "start_from", "objective", "train", "sample")
    assert all(path.startswith(parts) for path in differences(to_dict(first), to_dict(second)))
    objective = Objective(second.objective, on_meta(second, second.expected_facts()))
    assert not objective.on_images, "nothing is to be decoded"
    trained = {id(parameter) for parameter in objective.parameters() if parameter.requires_grad}
    assert trained == {id(parameter) for parameter in objective.model.prior.parameters()}
    assert f"simflow train {name}-prior --data" in (recipes.recipes()[f"{name}-prior"].__doc__ or "")


@pytest.mark.parametrize(
    ("before", "name"),
    [
        ("fashion-32-prior", "fashion-32-frechet"),
        ("emoji-32-prior", "emoji-32-frechet"),
        ("emoji-64-finer", "emoji-64-frechet"),
        ("natural-32-prior", "natural-32-frechet"),
    ],
)
def test_and_then_from_its_own_samples(before, name):
    """Guided less, if anything."""
    first, second = recipes.get(before), recipes.get(name)
    parts = ("name", "objective.frechet", "start_from", "train", "sample.guidance.weight")
    assert isinstance(first.sample.guidance, GaussianProduct)
    assert isinstance(second.sample.guidance, GaussianProduct)
    assert second.sample.guidance.weight <= first.sample.guidance.weight
    assert all(path.startswith(parts) for path in differences(to_dict(first), to_dict(second)))
    assert second.start_from == StartFrom()
    assert second.objective.frechet is not None
    assert second.objective.needs_only_codes
    assert f"simflow train {name} --data" in (recipes.recipes()[name].__doc__ or "")


def test_the_two_rows_of_natural_images_are_alike_in_size_and_data():
    simflow, tarflow = recipes.get("natural-32"), recipes.get("natural-32-tarflow")
    assert simflow.data == tarflow.data
    count, peer = SIZES["natural-32"][0], SIZES["natural-32-tarflow"][0]
    assert 0.85 < peer / count < 1.15
    assert isinstance(tarflow.model.posterior, FixedVariance)
    assert isinstance(tarflow.sample.refinement, ScoreDenoise)
    assert tarflow.sample.refinement.std == tarflow.model.posterior.std


def test_clothing_has_the_geometry_of_the_paper():
    """256 px, 16 x 16 tokens of 64 numbers, its autoencoder of 67 M, the blocks of SimFlow-S."""
    clothing, paper = recipes.get("clothing-256"), recipes.get("simflow-s")
    assert clothing.model.autoencoder == paper.model.autoencoder
    assert clothing.model.posterior == paper.model.posterior
    assert clothing.model.prior == paper.model.prior
    assert clothing.objective.alignment is None


def test_emoji_of_one_drawing_count_as_one_image_at_either_size():
    small, large = recipes.get("emoji-32"), recipes.get("emoji-64")
    assert large.data.alike == small.data.alike is not None
    assert (small.data.image_size, large.data.image_size) == (32, 64)


@pytest.mark.parametrize("names", [("cat", "dog"), ()])
def test_tuned_32_begins_as_emoji_32_without_a_class_whatever_the_classes(names):
    run = recipes.get("tuned-32")
    facts = replace(run.expected_facts(), class_names=names)
    model = initial(run, facts, torch.device("cpu")).model
    assert run.start_from is not None
    start(model, run.start_from)
    there = Pipeline.from_pretrained("emoji-32").model
    latents = torch.randn(1, *model.latent_shape)
    label = torch.tensor([len(names) - 1])
    assert isinstance(model.prior, Flow)
    assert isinstance(there.prior, Flow)
    torch.testing.assert_close(
        model.prior.log_prob(latents, label), there.prior.log_prob(latents, torch.tensor([-1]))
    )
    torch.testing.assert_close(model.decode(latents), there.decode(latents))
