"""The loop: a rate for each player, noise for each rank and step, and samples by the average, at rest."""

import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

from simflow.data import DataConfig, load
from simflow.seeding import generator
from simflow.train import checkpoint
from simflow.train.loop import train
from simflow.train.optim import Linear, StageConfig
from simflow.train.step import train_step
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
    return train(objective, state, images, FOUR, callbacks=[Listener(on_step)], **fixed, **options)


def test_both_players_follow_the_schedule_at_their_own_rates(tmp_path):
    objective, state = game(replace(ADVERSARIAL, lr=4e-3))
    rates = []

    def note(metrics):
        rates.append([each.param_groups[0]["lr"] for each in state.optimizers.values()])
        assert metrics.lr == rates[-1][0]

    assert run(objective, state, tmp_path, note)
    assert rates == [pytest.approx([part * 1e-2, part * 4e-3]) for part in (1, 0.75, 0.5, 0.25)]


def test_no_rank_and_no_step_draws_the_noise_of_another(tmp_path, monkeypatch):
    seeds = []

    def noted(*parts, device):
        seeds.append(parts)
        return generator(*parts, device=device)

    monkeypatch.setattr("simflow.train.loop.generator", noted)
    for rank in (0, 1):
        monkeypatch.setattr("simflow.distributed.rank", lambda own=rank: own)
        assert run(*game(None), tmp_path, lambda metrics: None)
    assert len(set(seeds)) == 2 * 4


def test_samples_are_of_the_average_at_rest_and_training_goes_on(tmp_path):
    objective, state = game(None)

    def averaged():
        weights = objective.model.state_dict()
        return all(torch.equal(tensor, weights[name]) for name, tensor in state.ema.weights.items())

    steps, samples = [], []
    assert run(
        objective,
        state,
        tmp_path,
        lambda metrics: steps.append((objective.training, averaged())),
        on_sample=lambda step: samples.append((step, objective.training, averaged())),
    )
    assert steps == [(True, False)] * 4
    assert samples == [(2, False, True), (4, False, True)]


@pytest.mark.parametrize("step", [0, 2])
def test_a_step_that_the_signal_cut_short_is_done_again_when_the_run_goes_on(tmp_path, monkeypatch, step):
    """A signal to all processes ends a compiler that torch waits for, and the step fails."""
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    whole = game(ADVERSARIAL)
    assert run(*whole, tmp_path / "whole", lambda metrics: None)

    def cut(state, *parts, **options):
        if state.step < step:
            return train_step(state, *parts, **options)
        os.kill(os.getpid(), signal.SIGTERM)
        raise RuntimeError("the compiler was killed\nand said much")

    with monkeypatch.context() as patch:
        patch.setattr("simflow.train.loop.train_step", cut)
        assert not run(*game(ADVERSARIAL), tmp_path / "cut", lambda metrics: None)
    objective, state = game(ADVERSARIAL)
    checkpoint.load(tmp_path / "cut" / "run" / f"step-{step:07d}", state)
    assert run(objective, state, tmp_path / "cut", lambda metrics: None)
    for name, tensor in whole[0].model.state_dict().items():
        assert torch.equal(tensor, objective.model.state_dict()[name]), name


def test_a_step_that_fails_by_itself_is_an_error(tmp_path, monkeypatch):
    def broken(*parts, **options):
        raise RuntimeError("out of memory")

    monkeypatch.setattr("simflow.train.loop.train_step", broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        run(*game(None), tmp_path, lambda metrics: None)
    assert checkpoint.latest(tmp_path / "run") is None
