"""The loop: a rate for each player, noise for each rank and step, and samples by the average, at rest."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from simflow.data import DataConfig, load
from simflow.seeding import generator
from simflow.train.loop import train
from simflow.train.optim import Linear, StageConfig
from tests.train.test_adversary import ADVERSARIAL, CONFIG, game

FOUR = replace(CONFIG, stages=(StageConfig(steps=4, schedule=Linear()),), log_every=1, sample_every=2)


class Listener:
    """Calls a function at every step."""

    def __init__(self, on_step) -> None:
        self.on_step = on_step

    def on_checkpoint(self, path):
        pass

    def on_end(self):
        pass


def run(objective, state, folder, on_step, **options):
    """Four steps on a few images."""
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 16), dtype=np.uint8)
    np.savez(folder / "set.npz", images=pixels, labels=np.arange(12) % 3)
    images = load(DataConfig(path=str(folder / "set.npz"), image_size=16, channels=1))
    fixed = {"flip": False, "folder": folder / "run", "saved_config": {}}
    assert train(objective, state, images, FOUR, callbacks=[Listener(on_step)], **fixed, **options)


def test_both_players_follow_the_schedule_at_their_own_rates(tmp_path):
    objective, state = game(replace(ADVERSARIAL, lr=4e-3))
    rates = []

    def note(metrics):
        rates.append([each.param_groups[0]["lr"] for each in state.optimizers.values()])
        assert metrics.lr == rates[-1][0]

    run(objective, state, tmp_path, note)
    assert rates == [pytest.approx([part * 1e-2, part * 4e-3]) for part in (1, 0.75, 0.5, 0.25)]


def test_no_rank_and_no_step_draws_the_noise_of_another(tmp_path, monkeypatch):
    seeds = []

    def noted(*parts, device):
        seeds.append(parts)
        return generator(*parts, device=device)

    monkeypatch.setattr("simflow.train.loop.generator", noted)
    for rank in (0, 1):
        monkeypatch.setattr("simflow.distributed.rank", lambda own=rank: own)
        run(*game(None), tmp_path, lambda metrics: None)
    assert len(set(seeds)) == 2 * 4


def test_samples_are_of_the_average_at_rest_and_training_goes_on(tmp_path):
    objective, state = game(None)

    def averaged():
        weights = objective.model.state_dict()
        return all(torch.equal(tensor, weights[name]) for name, tensor in state.ema.weights.items())

    steps, samples = [], []
    run(
        objective,
        state,
        tmp_path,
        lambda metrics: steps.append((objective.training, averaged())),
        on_sample=lambda step: samples.append((step, objective.training, averaged())),
    )
    assert steps == [(True, False)] * 4
    assert samples == [(2, False, True), (4, False, True)]
