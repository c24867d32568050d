"""The terms that are off by default: perceptual, adversarial, alignment. Their weights, and who learns from them."""

from dataclasses import replace
from itertools import product

import pytest
import torch

from simflow.autoencoder.compact import CompactConfig
from simflow.losses.adversarial import AdversarialConfig
from simflow.losses.alignment import AlignmentConfig
from simflow.losses.discriminators import PatchNetwork
from simflow.losses.perceptual import SqueezeNetDistance
from simflow.losses.vit import DinoV2
from simflow.model import Facts, ModelConfig
from simflow.objective import Objective, ObjectiveConfig, Routing
from simflow.posterior import FixedVariance, LearnedVariance
from simflow.seeding import generator
from tests.laws.cases import flow, normal, randomise
from tests.losses.tiny_vit import tiny_file
from tests.test_objective_routing import moved_by

LABELS = torch.tensor([0, 2, 1, 1])
IMAGES = normal(4, 1, 32, 32, dtype=torch.float32).clamp(-1, 1)
ADVERSARIAL = AdversarialConfig(weight=0.3, network=PatchNetwork(filters=8, layers=1))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return tiny_file(tmp_path_factory.mktemp("vit"))


def objective_of(source, *, routing=Routing(), posterior=FixedVariance(), block=2, layer=1, **terms):  # noqa: B008
    everything = {
        "perceptual": SqueezeNetDistance(weight=0.7),
        "adversarial": ADVERSARIAL,
        "alignment": AlignmentConfig(
            weight=0.2, block=block, layer=layer, hidden=16, encoder=DinoV2(source=source)
        ),
    } | terms
    torch.manual_seed(0)
    model = ModelConfig(
        autoencoder=CompactConfig(latent_channels=2, patch=4, widths=(8, 8)),
        posterior=posterior,
        prior=flow(depths=(1, 2, 1)),
    ).build(Facts(image_size=32, channels=1, class_names=("a", "b", "c")))
    randomise(model)
    objective = Objective(ObjectiveConfig(routing=routing, label_drop=0.0, **everything), model)
    judge = ADVERSARIAL.build(image_channels=1, image_size=32)
    return objective, judge, objective(IMAGES, LABELS, generator(0), judge)


def test_the_total_is_the_sum_of_the_terms(source):
    objective, judge, losses = objective_of(source)
    parts = ("reconstruction", "prior", "perceptual", "adversarial", "alignment")
    torch.testing.assert_close(losses.total, sum(getattr(losses, part) for part in parts))
    assert set(losses.named()) == {"total", "mse", *parts}
    perceptual = objective.perceptual(IMAGES, losses.decoded).mean()
    torch.testing.assert_close(losses.perceptual, 0.7 * perceptual)
    torch.testing.assert_close(losses.adversarial, -0.3 * judge.network(losses.decoded)[0].mean())
    assert not losses.decoded.requires_grad


def test_none_of_them_is_the_objective_without_them(source):
    _, _, plain = objective_of(source, perceptual=None, adversarial=None, alignment=None)
    _, _, full = objective_of(source)
    assert set(plain.named()) == {"total", "reconstruction", "prior", "mse"}
    assert plain.decoded is None
    torch.testing.assert_close(plain.reconstruction, full.reconstruction)
    torch.testing.assert_close(plain.prior, full.prior)


def test_without_a_judge_there_is_no_adversarial_term(source):
    objective, _, _ = objective_of(source)
    losses = objective(IMAGES, LABELS, generator(0))
    assert losses.adversarial is None
    assert losses.decoded is not None


def test_a_relative_weight_is_that_of_the_judges_gradient(source, monkeypatch):
    """At each reconstruction 0.3 of the length of the gradient of all other terms on images."""
    objective, judge, _ = objective_of(source, adversarial=replace(ADVERSARIAL, relative=True))
    decode, decoded = objective.model.decode, []

    def kept(latents):
        decoded.append(decode(latents))
        decoded[-1].retain_grad()
        return decoded[-1]

    monkeypatch.setattr(objective.model, "decode", kept)
    for player in (judge, None):
        objective(IMAGES, LABELS, generator(0), player).total.backward()
    both, others = (images.grad.flatten(1) for images in decoded)
    torch.testing.assert_close((both - others).norm(dim=1), 0.3 * others.norm(dim=1), rtol=1e-3, atol=0)


ROUTES = [
    Routing(encoder=encoder, decoder=decoder, prior=prior)
    for encoder, decoder, prior in product(
        ("all", "reconstruction", "alignment", "frozen"), ("reconstruction", "frozen"), ("prior", "frozen")
    )
]


def learners(routing):
    """The table: loss term -> the parts that it moves."""
    on_images = {
        *(["encoder"] if routing.encoder != "frozen" else []),
        *(["decoder"] if routing.decoder != "frozen" else []),
    }
    prior = {"prior"} if routing.prior != "frozen" else set()
    return {
        "reconstruction": on_images,
        "perceptual": on_images,
        "adversarial": on_images,
        "prior": prior | ({"encoder"} if routing.encoder == "all" else set()),
        "entropy": {"encoder"} if routing.encoder == "all" else set(),
        "alignment": {"projector"}
        | prior
        | ({"encoder"} if routing.encoder in ("all", "alignment") else set()),
    }


@pytest.mark.parametrize("routing", ROUTES, ids=lambda r: f"{r.encoder}-{r.decoder}-{r.prior}")
def test_which_loss_moves_which_part(source, routing):
    objective, judge, losses = objective_of(source, routing=routing, posterior=LearnedVariance())
    model = objective.model
    parts = {
        "encoder": model.autoencoder.encoder_parts(),
        "decoder": model.autoencoder.decoder_parts(),
        "prior": (model.prior,),
        "projector": (objective.alignment.projector,),
        "judge": (judge,),
    }
    for term, expected in learners(routing).items():
        assert moved_by(getattr(losses, term), parts) == expected, term
    assert moved_by(losses.total, parts) == set().union(*learners(routing).values())
    verdict = judge(IMAGES, losses.decoded)
    assert moved_by(verdict.loss, parts) == {"judge"}


@pytest.mark.parametrize("encoder", ["all", "alignment"])
@pytest.mark.parametrize(("block", "layer"), [(1, 1), (2, 1), (2, 2), (3, 1)])
def test_the_alignment_alone_moves_every_weight_of_the_encoder(source, encoder, block, layer):
    """REPA-E: nothing is detached between the image and the hidden tokens, whichever block they are of."""
    objective, _, losses = objective_of(source, routing=Routing(encoder=encoder), block=block, layer=layer)
    losses.alignment.backward()
    for part in objective.model.autoencoder.encoder_parts():
        for name, parameter in part.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name
    assert all(p.grad is None for p in objective.alignment.encoder.parameters())


def test_the_flow_is_taught_the_same_by_both_routes(source):
    """Stopping the prior's gradient at the latents changes what the encoder feels, and nothing else."""
    gradients = []
    for encoder in ("all", "alignment"):
        objective, _, losses = objective_of(source, routing=Routing(encoder=encoder))
        losses.total.backward()
        gradients.append([p.grad for p in objective.model.prior.parameters()])
    for first, second in zip(*gradients, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-6)


def test_hidden_tokens_are_compared_where_they_are(source):
    """A reversed block walks backwards, but its tokens are compared with the features of their own places.

    The hidden tokens of the second block, turned about by hand, must give another loss.
    """
    objective, _, losses = objective_of(source)
    model, draws = objective.model, generator(0)
    latents = model.posterior.sample(model.autoencoder.encode(IMAGES), draws)
    block = model.prior.chain()[1]
    assert block.order == "reversed"
    x, _, _ = model.prior.chain()[0](
        latents.flatten(2).transpose(1, 2), model.prior.chain()[0].condition(LABELS)
    )
    _, hidden = block.affine_of(x.flip(1), block.condition(LABELS), keep=1)
    right, wrong = (0.2 * objective.alignment(IMAGES, h).mean() for h in (hidden.flip(1), hidden))
    torch.testing.assert_close(losses.alignment, right, rtol=1e-4, atol=1e-6)
    assert abs(wrong - right) > 1e-4


@pytest.mark.parametrize(("block", "layer"), [(0, 1), (4, 1), (1, 2), (2, 0)])
def test_a_layer_that_is_not_there(source, block, layer):
    with pytest.raises(
        ValueError, match=rf"no layer {layer} in block {block} to align: the blocks have 1, 2, 1"
    ):
        objective_of(source, block=block, layer=layer)


def test_the_encoder_cannot_learn_from_an_alignment_that_is_off(source):
    with pytest.raises(ValueError, match=r"objective\.alignment is not set"):
        objective_of(source, routing=Routing(encoder="alignment"), alignment=None)


def test_only_the_projector_is_saved_of_the_judging_networks(source):
    objective, _, _ = objective_of(source)
    assert set(objective.companions()) == {"projector"}
    trained = {name for name, p in objective.named_parameters() if p.requires_grad}
    assert {name.split(".")[0] for name in trained} == {"model", "alignment"}
    assert all(name.startswith(("model.", "alignment.projector.")) for name in trained)


def test_beyond_an_end_of_the_range_nothing_pulls_back_where_the_image_is_there(source):
    images = torch.full_like(IMAGES, 1.0)
    images[:, :, :16] = 0.25
    losses = {}
    for censored in (False, True):
        objective, judge, _ = objective_of(source, censored=censored, alignment=None)
        with torch.no_grad():
            objective.model.autoencoder.decoder[-2].bias.fill_(50.0)  # whiter than white everywhere
        losses[censored] = objective(images, LABELS, generator(0), judge)
    shown, seen = losses[True].decoded, losses[False].decoded
    assert (seen > 1).all()
    assert torch.equal(shown[:, :, 16:], images[:, :, 16:])
    assert torch.equal(shown[:, :, :16], seen[:, :, :16]), "a gray pixel is pulled back from wherever it is"
    assert losses[True].mse < losses[False].mse
    assert losses[True].reconstruction < losses[False].reconstruction
    assert losses[True].perceptual < losses[False].perceptual
