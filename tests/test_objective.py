"""The loss of the paper: every term by hand, with its weight, and the labels that are dropped."""

import math

import pytest
import torch
from torch import distributions

from simflow.autoencoder.compact import CompactConfig
from simflow.fitting import watch
from simflow.losses.reconstruction import Calibrated, PixelMean
from simflow.model import Facts, ModelConfig
from simflow.objective import BOTTOM, Objective, ObjectiveConfig, drop_labels
from simflow.posterior import FixedVariance, LearnedVariance, NoNoise
from simflow.seeding import generator
from simflow.shapes import NULL
from tests.laws.cases import flow, normal, randomise

LABELS = torch.tensor([0, 1, 2, 1])
IMAGES = normal(4, 3, 8, 8).clamp(-1, 1)


PAPER = ObjectiveConfig(label_drop=0.0)


def objective_of(config: ObjectiveConfig = PAPER, *, prior=None, **choices) -> Objective:
    torch.manual_seed(0)
    autoencoder = CompactConfig(latent_channels=2, patch=2, widths=(8, 8))
    facts = Facts(image_size=8, channels=3, class_names=("a", "b", "c"))
    model = ModelConfig(autoencoder=autoencoder, prior=prior or flow(), **choices).build(facts)
    randomise(model)
    return Objective(config, model.double())


def losses_of(objective):
    return objective(IMAGES, LABELS, generator(0))


# Every term, averaged at its own level.


def by_hand(objective):
    """Latents, decoded images and the energy of each image, in the objective's order of draws."""
    model, draws = objective.model, generator(0)
    code = model.autoencoder.encode(IMAGES)
    latents = model.posterior.sample(code, draws)
    labels = drop_labels(LABELS, objective.config.label_drop, draws)
    return (
        code,
        latents,
        model.decode(latents),
        -model.prior.log_prob(latents, labels) - 4 * math.log(2 * math.pi),
    )


@pytest.mark.parametrize("drop", [0.0, 0.5])
@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_the_terms_of_the_paper(norm, drop):
    """Eq. 36: reconstruction a pixel value, and the flow's energy a latent number, 1:1."""
    objective = objective_of(ObjectiveConfig(reconstruction=PixelMean(norm=norm), label_drop=drop))
    _, _, decoded, energy = by_hand(objective)
    error = decoded - IMAGES
    pixels = sum((abs(e) if norm == "l1" else e**2).sum() for e in error) / (4 * 192)
    losses = losses_of(objective)
    torch.testing.assert_close(losses.reconstruction, pixels)
    torch.testing.assert_close(losses.prior, energy.sum() / (4 * 8))
    torch.testing.assert_close(losses.total, losses.reconstruction + losses.prior)
    torch.testing.assert_close(losses.mse, (error**2).sum() / (4 * 192))
    assert losses.entropy is None
    assert set(losses.named()) == {"total", "reconstruction", "prior", "mse"}
    assert not losses.mse.requires_grad


def test_weights_scale_their_terms():
    plain = losses_of(objective_of(posterior=LearnedVariance()))
    config = ObjectiveConfig(reconstruction=PixelMean(weight=3.0), prior_weight=0.2, label_drop=0.0)
    weighted = losses_of(objective_of(config, posterior=LearnedVariance()))
    torch.testing.assert_close(weighted.reconstruction, 3 * plain.reconstruction)
    torch.testing.assert_close(weighted.prior, 0.2 * plain.prior)
    torch.testing.assert_close(weighted.entropy, 0.2 * plain.entropy)
    torch.testing.assert_close(weighted.total, weighted.reconstruction + weighted.prior + weighted.entropy)
    torch.testing.assert_close(weighted.mse, plain.mse)


def test_a_learned_variance_brings_its_entropy():
    """Eq. 5 and 29: the entropy is maximised, averaged over the numbers of the latent."""
    objective = objective_of(posterior=LearnedVariance())
    code, *_ = by_hand(objective)
    entropy = distributions.Normal(0.0, (code[:, 2:] / 2).exp()).entropy().sum() / (4 * 8)
    losses = losses_of(objective)
    torch.testing.assert_close(losses.entropy, -entropy)
    torch.testing.assert_close(losses.total, losses.reconstruction + losses.prior + losses.entropy)
    assert "entropy" in losses.named()


def test_the_calibrated_term_is_a_gaussian_likelihood_at_its_best_variance():
    """``-log N(image | decoded, v)`` at ``v = MSE``, a latent number, up to the constant ``P / (2 D) log(2 pi e)``."""
    objective = objective_of(ObjectiveConfig(reconstruction=Calibrated(), label_drop=0.0))
    _, _, decoded, _ = by_hand(objective)
    mse = (decoded - IMAGES).square().mean()
    likelihood = distributions.Normal(decoded, mse.sqrt()).log_prob(IMAGES).sum(dim=(1, 2, 3)).mean()
    constant = 192 / (2 * 8) * math.log(2 * math.pi * math.e)
    torch.testing.assert_close(
        losses_of(objective).reconstruction, -likelihood / 8 - constant, atol=1e-6, rtol=1e-6
    )
    for other in (0.9 * mse, 1.1 * mse):
        worse = distributions.Normal(decoded, other.sqrt()).log_prob(IMAGES).sum(dim=(1, 2, 3)).mean()
        assert worse < likelihood


def test_the_gradient_of_the_calibrated_term():
    """``P / (2 D) * grad MSE / MSE``: large errors count as much as small ones."""
    images, decoded = normal(2, 1, 4, 4), normal(2, 1, 4, 4, seed=5).requires_grad_()
    Calibrated(weight=2.0).loss(images, decoded, latent_numbers=4).backward()
    error = (decoded - images).detach()
    expected = 2.0 * 16 / (2 * 4) * 2 * error / error.square().sum()
    torch.testing.assert_close(decoded.grad, expected, atol=1e-7, rtol=1e-6)
    perfect = Calibrated().loss(images, images.clone().requires_grad_(), latent_numbers=4)
    assert perfect.isfinite()


def test_the_floor_is_that_of_the_term():
    assert objective_of(ObjectiveConfig(prior_weight=0.3)).floor == pytest.approx(0.3 * (math.log(0.5) + 0.5))
    assert objective_of(posterior=NoNoise()).floor is None
    assert objective_of(ObjectiveConfig(prior_weight=0.0)).floor is None, "a decoder's stage has no such term"


def test_the_bottom_is_watched_where_there_is_neither_noise_nor_an_entropy():
    assert 0 < math.log(0.05) + 0.5 - BOTTOM < 0.01
    config = ObjectiveConfig(prior_weight=0.3)
    assert objective_of(config, posterior=NoNoise()).bottom == pytest.approx(0.3 * BOTTOM)
    for posterior in (FixedVariance(), LearnedVariance()):
        assert objective_of(config, posterior=posterior).bottom is None


def test_unless_told_otherwise_it_is_the_papers():
    """Appendix B: a tenth of the labels is dropped; the terms are added 1:1."""
    paper = ObjectiveConfig(reconstruction=PixelMean(norm="l2", weight=1.0), prior_weight=1.0, label_drop=0.1)
    assert ObjectiveConfig() == paper


def test_losses_do_not_depend_on_the_order_of_the_images():
    objective, order = objective_of(posterior=NoNoise()), torch.tensor([2, 0, 3, 1])
    shuffled = objective(IMAGES[order], LABELS[order], generator(0))
    for one, two in zip(losses_of(objective).named().values(), shuffled.named().values(), strict=True):
        torch.testing.assert_close(one, two)


# Terms without weight.


def test_a_prior_alone_decodes_nothing(monkeypatch):
    """STARFlow's stage: without a term on images there is no decoder to run, nor to teach."""
    config = ObjectiveConfig(reconstruction=PixelMean(weight=0.0), label_drop=0.0)
    objective = objective_of(config)
    monkeypatch.setattr(objective.model, "decode", lambda latents: pytest.fail("decoded"))
    losses = losses_of(objective)
    assert set(losses.named()) == {"total", "prior"}
    torch.testing.assert_close(losses.prior, losses_of(objective_of()).prior)
    decoder = objective.model.autoencoder.decoder_parts()
    assert not any(p.requires_grad for part in decoder for p in part.parameters())


def test_a_decoder_alone_runs_no_prior(monkeypatch):
    config = ObjectiveConfig(prior_weight=0.0, label_drop=0.0)
    objective = objective_of(config, posterior=LearnedVariance())
    monkeypatch.setattr(objective.model.prior, "energy", lambda *_: pytest.fail("ran the prior"))
    losses = losses_of(objective)
    assert set(losses.named()) == {"total", "reconstruction", "mse"}
    assert not any(p.requires_grad for p in objective.model.prior.parameters())
    assert watch(objective) == []


def test_nothing_to_learn_is_refused():
    config = ObjectiveConfig(reconstruction=PixelMean(weight=0.0), prior_weight=0.0)
    with pytest.raises(ValueError, match="every term of the objective has the weight 0"):
        objective_of(config)


# Dropped labels.


@pytest.mark.parametrize("probability", [0.1, 0.5])
def test_labels_are_dropped_as_often_as_asked(probability):
    labels = torch.arange(20_000) % 7
    dropped = drop_labels(labels, probability, generator(0))
    gone = dropped == NULL
    assert gone.double().mean().item() == pytest.approx(probability, abs=0.01)
    assert torch.equal(dropped[~gone], labels[~gone])
    assert labels.min() == 0
    by_class = torch.stack([gone[labels == label].double().mean() for label in range(7)])
    assert (by_class - probability).abs().max() < 0.03
    assert torch.equal(dropped, drop_labels(labels, probability, generator(0)))


def test_none_or_all_labels_are_dropped():
    labels, draws = torch.arange(1000), generator(0)
    assert torch.equal(drop_labels(labels, 0.0, draws), labels)
    assert (drop_labels(labels, 1.0, draws) == NULL).all()
