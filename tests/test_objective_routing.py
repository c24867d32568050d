"""Who learns from what: the table of loss terms and the parts that they move."""

from itertools import product

import pytest
import torch

from simflow.flow.base import FittedNormal
from simflow.losses.reconstruction import Calibrated, PixelMean
from simflow.objective import ObjectiveConfig, Routing
from simflow.posterior import LearnedVariance
from tests.laws.cases import flow
from tests.test_objective import losses_of, objective_of

ROUTES = [
    Routing(encoder=encoder, decoder=decoder, prior=prior)
    for encoder, decoder, prior in product(
        ("all", "reconstruction", "frozen"), ("reconstruction", "frozen"), ("prior", "frozen")
    )
]


def learners(routing):
    """The table: loss term -> the parts that it moves."""
    return {
        "reconstruction": {
            *(["encoder"] if routing.encoder != "frozen" else []),
            *(["decoder"] if routing.decoder != "frozen" else []),
        },
        "prior": {
            *(["encoder"] if routing.encoder == "all" else []),
            *(["prior"] if routing.prior != "frozen" else []),
        },
        "entropy": {"encoder"} if routing.encoder == "all" else set(),
    }


@pytest.mark.parametrize("reconstruction", [PixelMean(), Calibrated()])
@pytest.mark.parametrize("routing", ROUTES, ids=lambda r: f"{r.encoder}-{r.decoder}-{r.prior}")
def test_which_loss_moves_which_part(routing, reconstruction):
    config = ObjectiveConfig(reconstruction=reconstruction, routing=routing, label_drop=0.0)
    objective = objective_of(config, posterior=LearnedVariance())
    model, losses = objective.model, losses_of(objective)
    parts = {
        "encoder": model.autoencoder.encoder_parts(),
        "decoder": model.autoencoder.decoder_parts(),
        "prior": (model.prior,),
    }
    union = set()
    for term, expected in learners(routing).items():
        union |= expected
        assert moved_by(getattr(losses, term), parts) == expected, term
    assert moved_by(losses.total, parts) == union
    assert moved_by(losses.mse, parts) == set()


def moved_by(loss, parts):
    """The names of the parts that get a gradient from a loss."""
    parameters = [p for modules in parts.values() for module in modules for p in module.parameters()]
    for parameter in parameters:
        parameter.grad = None
    if loss.requires_grad:
        loss.backward(retain_graph=True)
    moved = set()
    for name, modules in parts.items():
        touched = [
            p.grad is not None and bool(p.grad.any()) for module in modules for p in module.parameters()
        ]
        if any(touched):
            moved.add(name)
    return moved


def test_the_default_stops_nothing():
    """SimFlow: no gradient is stopped, and every parameter of the model learns."""
    objective = objective_of()
    losses_of(objective).total.backward()
    for key, parameter in objective.named_parameters():
        assert parameter.grad is not None, f"{key} has no gradient"
        assert parameter.grad.any(), f"the gradient of {key} is zero"


def test_frozen_parts_ask_for_no_gradient():
    objective = objective_of(ObjectiveConfig(routing=Routing(encoder="frozen")))
    model = objective.model
    encoder, decoder = model.autoencoder.encoder_parts(), model.autoencoder.decoder_parts()
    for parts, learns in ((encoder, False), (decoder, True), ((model.prior,), True)):
        assert all(p.requires_grad == learns for part in parts for p in part.parameters())


@pytest.mark.parametrize("frozen", [True, False])
def test_a_frozen_prior_learns_nothing_beside_the_gradient_either(frozen):
    routing = Routing(prior="frozen" if frozen else "prior")
    prior = flow(scale="none", base=FittedNormal())
    objective = objective_of(ObjectiveConfig(routing=routing), prior=prior).train()
    before = objective.model.prior.state_dict()["base.variance"].clone()
    losses_of(objective)
    objective.model.prior.settle(lambda seen: seen)
    assert torch.equal(objective.model.prior.state_dict()["base.variance"], before) == frozen
