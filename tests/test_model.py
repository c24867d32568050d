"""The two journeys, and what the model refuses."""

import pytest
import torch

from simflow.autoencoder.compact import CompactConfig
from simflow.autoencoder.pixels import PixelsConfig
from simflow.flow.guidance import GaussianProduct, LogScale
from simflow.flow.score import GuidedScoreStep, ScoreDenoise
from simflow.model import Facts, Model, ModelConfig
from simflow.posterior import FixedVariance, LearnedVariance, NoNoise
from simflow.seeding import generator, noise_for_seeds
from tests.laws.cases import flow, normal, randomise

FACTS = Facts(image_size=8, channels=3, class_names=("cat", "dog", "bird"))
CONFIG = ModelConfig(
    autoencoder=CompactConfig(latent_channels=2, patch=2, widths=(8, 8)),
    posterior=FixedVariance(),
    prior=flow(),
)


def model_of(config=CONFIG, facts=FACTS) -> Model:
    torch.manual_seed(0)
    built = config.build(facts)
    randomise(built)
    return built.double()


def noise_of(model, batch=4):
    return normal(batch, *model.prior.noise_shape)


LABELS = torch.tensor([0, -1, 2, 1])


def test_labels_of_names_and_numbers():
    assert FACTS.labels_of(["bird", "0", "cat", "2"]) == [2, 0, 0, 2]
    assert FACTS.labels_of([]) == []
    composed, parts = "caf\u00e9", "cafe\u0301"
    for written, asked in ((composed, parts), (parts, composed)):
        assert Facts(image_size=8, channels=1, class_names=("bar", written)).labels_of([asked]) == [1]


def test_a_name_that_is_a_number_is_a_name():
    """Folders named 1, 10, 2 have the labels 0, 1, 2: asked for "2", the class of that name is meant."""
    facts = Facts(image_size=8, channels=1, class_names=("1", "10", "2"))
    assert facts.labels_of(["1", "10", "2"]) == [0, 1, 2]
    assert facts.labels_of(["0"]) == [0]


@pytest.mark.parametrize("name", ["fish", "3", "-1", ""])
def test_an_unknown_class_is_refused_with_those_there_are(name):
    with pytest.raises(ValueError, match=r"there is no class '.*'; the classes are cat, dog, bird"):
        FACTS.labels_of(["cat", name])


def test_an_unconditional_model_has_no_class_to_name():
    with pytest.raises(ValueError, match="none: the model is unconditional"):
        Facts(image_size=8, channels=1, class_names=()).labels_of(["cat"])


@pytest.mark.parametrize("posterior", [FixedVariance(), LearnedVariance(), NoNoise()])
def test_shapes_of_both_journeys(posterior):
    model = model_of(ModelConfig(autoencoder=CONFIG.autoencoder, posterior=posterior, prior=flow()))
    images = normal(4, 3, 8, 8)
    latents = model.encode(images, generator(0))
    assert model.latent_shape == (2, 2, 2)
    assert latents.shape == (4, 2, 2, 2)
    assert model.decode(latents).shape == images.shape
    assert model.generate(noise_of(model), LABELS).shape == images.shape
    assert model.device == torch.device("cpu")


def test_generation_is_inverse_then_refinement_then_decoding():
    model, guidance, refinement = model_of(), GaussianProduct(weight=1.0), GuidedScoreStep(gamma=0.1)
    noise = noise_of(model)
    latents = model.prior.inverse(noise, LABELS, guidance)
    expected = model.decode(latents).detach()
    out = model.generate(noise, LABELS, guidance=guidance)
    assert not out.requires_grad
    torch.testing.assert_close(out, expected)
    refined = refinement.refine(model.prior.log_prob, latents, LABELS)
    out = model.generate(noise, LABELS, guidance=guidance, refinement=refinement)
    torch.testing.assert_close(out, model.decode(refined).detach())
    assert not torch.allclose(out, expected)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_what_was_encoded_to_noise_is_generated_again():
    model = model_of(ModelConfig(autoencoder=PixelsConfig(), posterior=NoNoise(), prior=flow(patch=4)))
    images = normal(4, 3, 8, 8)
    noise, _ = model.prior.forward(model.encode(images, generator(0)), LABELS)
    torch.testing.assert_close(model.generate(noise.detach(), LABELS), images, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("guidance", [None, GaussianProduct(weight=2.0), LogScale(weight=0.5)])
def test_image_i_is_the_same_whatever_the_batch(guidance):
    model, seeds = model_of(), [5, 11, 3, 8]

    def images(chosen):
        noise = noise_for_seeds([seeds[i] for i in chosen], model.prior.noise_shape).double()
        return model.generate(noise, LABELS[chosen], guidance=guidance, refinement=ScoreDenoise(std=0.2))

    together = images([0, 1, 2, 3])
    for part in ([0], [3], [2, 1], [3, 2, 0]):
        torch.testing.assert_close(images(part), together[part], atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("labels", [[0, 3], [-2, 0], [100, -1]])
def test_labels_out_of_range_are_refused(labels):
    model = model_of()
    with pytest.raises(ValueError, match=r"labels must lie in 0 \.\. 2 \(or be -1 for no class\)"):
        model.generate(noise_of(model, 2), torch.tensor(labels))


def test_a_model_without_classes():
    model = model_of(facts=Facts(image_size=8, channels=3, class_names=()))
    noise, nothing = noise_of(model, 2), torch.tensor([-1, -1])
    assert model.generate(noise, nothing).shape == (2, 3, 8, 8)
    with pytest.raises(ValueError, match="guidance needs classes, and this model was trained without any"):
        model.generate(noise, nothing, guidance=GaussianProduct())
    with pytest.raises(ValueError, match="this model has no classes: every label must be -1"):
        model.generate(noise, torch.tensor([0, 0]))


def test_an_image_side_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="an image side of 9 is not a multiple of 4"):
        CONFIG.build(Facts(image_size=9, channels=3, class_names=()))
    with pytest.raises(ValueError, match="a patch of 3 does not divide latents of 2 x 2"):
        ModelConfig(autoencoder=CONFIG.autoencoder, prior=flow(patch=3)).build(FACTS)


def test_a_state_dict_is_the_whole_model():
    model, noise = model_of(), normal(4, 4, 2)
    torch.manual_seed(9)
    other = CONFIG.build(FACTS).double()
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.eval().generate(noise, LABELS), model.train().generate(noise, LABELS))
