"""Two players: each moves its own parameters and no other, in parts as in one piece, and resumed as uninterrupted."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from simflow.autoencoder.compact import CompactConfig
from simflow.cli import main
from simflow.flow.base import FittedNormal
from simflow.losses.adversarial import MEMORY, AdversarialConfig
from simflow.losses.discriminators import FeatureNetwork, PatchNetwork
from simflow.model import Facts, ModelConfig
from simflow.objective import Objective, ObjectiveConfig
from simflow.posterior import FixedVariance, NoNoise
from simflow.precision import computing_in
from simflow.seeding import generator
from simflow.train import checkpoint
from simflow.train.loop import TrainConfig, adversary_of, begin
from simflow.train.optim import OptimizerConfig, StageConfig
from simflow.train.step import train_step
from tests.laws.cases import flow, normal
from tests.losses.tiny_vit import tiny_file
from tests.whole.test_processes import two_processes
from tests.whole.tiny import words

IMAGES = normal(6, 1, 16, 16).clamp(-1, 1).float()
LARGER = normal(6, 1, 32, 32).clamp(-1, 1).float()
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])
ADVERSARIAL = AdversarialConfig(weight=0.5, network=PatchNetwork(filters=8, layers=1), lr=1e-2, lecam=0.1)
BY_FEATURES = replace(ADVERSARIAL, network=FeatureNetwork(width=8), weight=0.8, relative=True)
CONFIG = TrainConfig(
    batch=6, stages=(StageConfig(steps=9),), optimizer=OptimizerConfig(lr=1e-2, eps=1e-4, clip=1.0)
)


def game(adversarial=ADVERSARIAL, *, posterior=FixedVariance(), seed=0):  # noqa: B008
    """A fresh game; features want larger images."""
    side = 32 if adversarial is not None and isinstance(adversarial.network, FeatureNetwork) else 16
    torch.manual_seed(seed)
    model = ModelConfig(
        autoencoder=CompactConfig(latent_channels=2, patch=4, widths=(8, 8)),
        posterior=posterior,
        prior=flow(),
    ).build(Facts(image_size=side, channels=1, class_names=("a", "b", "c")))
    objective = Objective(ObjectiveConfig(adversarial=adversarial, label_drop=0.0), model)
    return objective, begin(objective, CONFIG)


def play(objective, state, steps=1, *, microbatch=6, dtype="float32", clip=1.0):
    """Steps as the loop takes them; what the last one said."""
    adversary = adversary_of(objective, state, world=1)
    said = None
    for _ in range(steps):
        said = train_step(
            state,
            objective,
            IMAGES if objective.model.facts.image_size == 16 else LARGER,
            LABELS,
            microbatch=microbatch,
            clip=clip,
            generator=generator(0, "train", 0, state.step),
            autocast=computing_in(dtype, torch.device("cpu")),
            adversary=adversary,
        )
    return said


def snapshot(module):
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def moved(before, module):
    return {name for name, tensor in module.state_dict().items() if not torch.equal(before[name], tensor)}


@pytest.mark.parametrize("adversarial", [ADVERSARIAL, BY_FEATURES], ids=["patches", "features"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("microbatch", [6, 4])
def test_both_players_move(dtype, microbatch, adversarial):
    objective, state = game(adversarial)
    before = {name: snapshot(module) for name, module in state.modules.items()}
    said = play(objective, state, 2, dtype=dtype, microbatch=microbatch)
    for name, module in state.modules.items():
        learned = {key for key, parameter in module.named_parameters() if parameter.requires_grad}
        assert learned <= moved(before[name], module) or name == "model", name
    assert {"adversarial", "discriminator", "logit_real", "logit_fake"} <= said.losses.keys()
    assert all(value.isfinite() for value in said.losses.values())
    assert said.skipped.item() == 0


def test_each_optimiser_holds_its_own_parameters():
    objective, state = game()
    held = {
        name: {id(p) for group in optimizer.param_groups for p in group["params"]}
        for name, optimizer in state.optimizers.items()
    }
    assert held["model"] == {id(p) for p in objective.model.parameters()}
    assert held["discriminator"] == {id(p) for p in state.modules["discriminator"].parameters()}


def test_the_discriminator_has_a_rate_and_betas_of_its_own():
    _, state = game(replace(ADVERSARIAL, lr=3e-3, betas=(0.5, 0.9)))
    both = [(o.defaults["lr"], o.defaults["betas"]) for o in state.optimizers.values()]
    assert both == [(1e-2, (0.9, 0.999)), (3e-3, (0.5, 0.9))]


def test_the_model_moves_by_its_own_loss_alone_and_the_discriminator_by_its_own():
    """Each player's step is the one that it would take if the other stood still."""
    objective, state = game()
    discriminator = state.modules["discriminator"]
    losses = objective(IMAGES, LABELS, generator(0, "train", 0, 0), discriminator)
    losses.total.backward()
    assert all(p.grad is None for p in discriminator.parameters())
    expected = [p.grad.clone() for p in objective.model.parameters()]
    verdict = discriminator(IMAGES, losses.decoded)
    verdict.loss.backward()
    assert all(torch.equal(p.grad, e) for p, e in zip(objective.model.parameters(), expected, strict=True))
    expected_second = [p.grad.clone() for p in discriminator.parameters()]

    again, state = game()
    play(again, state, clip=None)
    for parameters, gradients in (
        (again.model.parameters(), expected),
        (state.modules["discriminator"].parameters(), expected_second),
    ):
        for parameter, gradient in zip(parameters, gradients, strict=True):
            torch.testing.assert_close(parameter.grad, gradient)


def test_the_adversarial_term_pulls_the_decoder_to_where_logits_are_higher():
    objective, state = game()
    discriminator = state.modules["discriminator"]
    draws = generator(0, "train", 0, 0)
    losses = objective(IMAGES, LABELS, draws, discriminator)
    assert losses.adversarial.item() == pytest.approx(
        -0.5 * discriminator.network(losses.decoded)[0].mean().item()
    )
    gradient = torch.autograd.grad(losses.adversarial, objective.model.autoencoder.decoder[-2].weight)[0]
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize("relative", [False, True])
def test_in_parts_as_in_one_piece(relative):
    """Without noise, accumulation changes nothing but the order of sums, LeCam's memory included."""
    ends = []
    for microbatch in (6, 2, 1):
        objective, state = game(replace(ADVERSARIAL, relative=relative), posterior=NoNoise())
        play(objective, state, 3, microbatch=microbatch)
        ends.append({name: snapshot(module) for name, module in state.modules.items()})
    for other in ends[1:]:
        for name, tensors in ends[0].items():
            for key, tensor in tensors.items():
                torch.testing.assert_close(other[name][key], tensor, rtol=1e-3, atol=2e-4)
    assert ends[0]["discriminator"]["mean_real"].item() != 0


def test_it_starts_when_told_and_learns_a_little_earlier():
    objective, state = game(replace(ADVERSARIAL, start_step=3, head_start=1))
    discriminator = state.modules["discriminator"]
    before = snapshot(discriminator)
    said = play(objective, state, 2)
    assert moved(before, discriminator) == set()
    assert not {"adversarial", "discriminator"} & said.losses.keys()
    said = play(objective, state)
    assert moved(before, discriminator)
    assert "discriminator" in said.losses
    assert "adversarial" not in said.losses
    assert "adversarial" in play(objective, state).losses


def test_before_its_start_the_run_is_as_without_it():
    with_it, without = game(replace(ADVERSARIAL, start_step=5)), game(None)
    play(*with_it, steps=3)
    play(*without, steps=3)
    assert moved(snapshot(with_it[0].model), without[0].model) == set()


@pytest.mark.parametrize("adversarial", [ADVERSARIAL, BY_FEATURES], ids=["patches", "features"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_interrupted_and_resumed_is_uninterrupted(tmp_path, dtype, adversarial):
    config = replace(adversarial, start_step=2, head_start=1)
    objective, state = game(config)
    play(objective, state, 4, dtype=dtype)
    path = checkpoint.save(tmp_path, state, {})
    other, resumed = game(config, seed=7)
    checkpoint.load(path, resumed)
    for game_of, of in ((objective, state), (other, resumed)):
        play(game_of, of, 3, dtype=dtype)
    for name, module in state.modules.items():
        assert moved(snapshot(module), resumed.modules[name]) == set(), name
    assert all(
        torch.equal(a, b)
        for a, b in zip(state.ema.weights.values(), resumed.ema.weights.values(), strict=True)
    )


def test_a_broken_step_moves_neither():
    objective, state = game()
    with torch.no_grad():
        objective.model.autoencoder.decoder[-2].bias.fill_(float("nan"))
    before = {name: snapshot(module) for name, module in state.modules.items()}
    assert play(objective, state).skipped.item() == 1
    assert moved(before["discriminator"], state.modules["discriminator"]) == set()


def test_a_step_that_only_the_model_skips_is_counted():
    objective, state = game()
    with torch.no_grad():
        objective.model.prior.chain()[0].head.bias.fill_(float("nan"))
    before = snapshot(state.modules["discriminator"])
    assert play(objective, state).skipped.item() == 1
    assert moved(before, state.modules["discriminator"])


def test_both_gradients_are_clipped():
    """So short a gradient is nothing beside AdamW's eps."""
    objective, state = game()
    before = {name: snapshot(module) for name, module in state.modules.items()}
    play(objective, state, clip=1e-9)
    for name, module in state.modules.items():
        for key, parameter in module.named_parameters():
            torch.testing.assert_close(parameter, before[name][key], atol=1e-6, rtol=0)


def test_the_memory_of_logits_is_of_what_was_said():
    objective, state = game()
    said, discriminator = play(objective, state).losses, state.modules["discriminator"]
    for memory, name in (("mean_real", "logit_real"), ("mean_fake", "logit_fake")):
        torch.testing.assert_close(discriminator.get_buffer(memory), (1 - MEMORY) * said[name])


def test_the_average_has_the_variance_of_the_step():
    torch.manual_seed(0)
    prior = flow(scale="none", base=FittedNormal())
    facts = Facts(image_size=16, channels=1, class_names=("a", "b", "c"))
    autoencoder = CompactConfig(latent_channels=2, patch=4, widths=(8, 8))
    objective = Objective(ObjectiveConfig(), ModelConfig(autoencoder=autoencoder, prior=prior).build(facts))
    state = begin(objective, CONFIG)
    play(objective, state)
    variance = objective.model.prior.base.variance
    assert not variance.eq(1).any()
    assert torch.equal(state.ema.weights["prior.base.variance"], variance)


def test_the_seed_makes_the_discriminator():
    first, second = (game(seed=seed)[1].modules["discriminator"] for seed in (0, 1))
    assert moved(snapshot(first), second) == set()
    other = begin(game()[0], replace(CONFIG, seed=1)).modules["discriminator"]
    assert moved(snapshot(first), other)


def test_two_processes_play_as_one(tmp_path):
    """Without noise both players end where one process puts them, but for the order of sums."""
    adversarial = (
        "{weight: 0.5, network: {filters: 8, layers: 1}, lecam: 0.1, lr: 0.01, start_step: 1, head_start: 1}"
    )
    flags = [
        "--model.posterior",
        "NoNoise",
        "--objective.label_drop",
        "0",
        "--objective.adversarial",
        adversarial,
    ]
    flags += ["--objective.reconstruction", "PixelMean", "--train.optimizer.eps", "1e-4"]
    flags += ["--train.microbatch", "1"]
    eye = f"{{source: {tiny_file(tmp_path)}}}"
    flags += ["--objective.alignment", f"{{hidden: 8, block: 1, encoder: {eye}}}"]
    common = [*words(tmp_path), *flags]
    done = two_processes([*common, "--out", str(tmp_path / "two")])
    assert done.returncode == 0, done.stderr
    assert main([*common, "--out", str(tmp_path / "one")]) == 0
    records = [json.loads(file.read_text()) for file in tmp_path.glob("*/checkpoints/*4/state.json")]
    assert [record["images_seen"] for record in records] == [16, 16]
    for file in ("model", "discriminator", "projector"):
        one, two = (
            load_file(tmp_path / name / "checkpoints" / "step-0000004" / f"{file}.safetensors")
            for name in ("one", "two")
        )
        for name, tensor in one.items():
            torch.testing.assert_close(two[name], tensor, rtol=2e-3, atol=1e-4, msg=name)
