"""Schedules against the paper's numbers, AdamW against its formula, and a broken gradient leaves no trace."""

import copy
import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from simflow.train.optim import (
    Constant,
    Cosine,
    Linear,
    OptimizerConfig,
    StageConfig,
    learning_rate,
    set_learning_rate,
    stage_at,
    step_clipped,
    total_steps,
)

PAPER = (StageConfig(steps=100), StageConfig(steps=100, schedule=Cosine(final=0.01)))


def test_the_papers_two_stages():
    rates = [learning_rate(PAPER, 1e-4, step) for step in range(total_steps(PAPER) + 1)]
    assert rates[:101] == [1e-4] * 101  # the cosine starts again at the full rate
    assert rates[150] == pytest.approx((1e-4 + 1e-6) / 2)
    assert rates[125] == pytest.approx(1e-6 + (1e-4 - 1e-6) * (1 + math.cos(math.pi / 4)) / 2)
    assert rates[200] == pytest.approx(1e-6)
    assert all(a > b for a, b in pairwise(rates[100:]))


@pytest.mark.parametrize(
    "schedule", [Constant(warmup=3), Cosine(final=0.1, warmup=3), Linear(final=0.1, warmup=3)]
)
def test_warm_up_rises_from_above_zero_to_the_full_rate(schedule):
    factors = [schedule.factor(step, 11) for step in range(12)]
    assert factors[:4] == [0.25, 0.5, 0.75, 1.0]
    assert factors[11] == pytest.approx(1.0 if isinstance(schedule, Constant) else 0.1)


def test_linear_is_a_line():
    assert [Linear(final=0.5).factor(step, 4) for step in range(5)] == [1.0, 0.875, 0.75, 0.625, 0.5]


def test_past_the_end_the_last_value_holds():
    assert stage_at(PAPER, 1000) == (1, 100)
    assert learning_rate(PAPER, 1e-4, 1000) == pytest.approx(1e-6)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"steps": 0}, "at least one step"),
        ({"steps": 5, "schedule": Cosine(warmup=5)}, "a warm-up of 5 steps does not fit in a stage of 5"),
    ],
)
def test_impossible_stages_are_sentences(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        StageConfig(**arguments)


def net(dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 41), nn.LayerNorm(41), nn.Linear(41, 2)).to(dtype)
    module(torch.randn(5, 3, dtype=dtype)).square().mean().backward()
    return module


@pytest.mark.parametrize("fused", [True, False])
def test_first_step_is_adamws_formula_and_spares_vectors_from_decay(fused):
    module = net()
    before = copy.deepcopy(dict(module.named_parameters()))
    gradients = {name: p.grad.clone() for name, p in module.named_parameters()}
    optimizer = OptimizerConfig(lr=0.1, weight_decay=0.5, eps=1e-3, fused=fused).build(module)
    set_learning_rate(optimizer, 0.01)
    optimizer.step()
    for name, p in module.named_parameters():
        kept = 1 - 0.01 * 0.5 if p.ndim > 1 else 1.0
        expected = before[name] * kept - 0.01 * gradients[name] / (gradients[name].abs() + 1e-3)
        torch.testing.assert_close(p, expected)


def test_frozen_parameters_are_left_out():
    module = net()
    module.get_submodule("0").requires_grad_(False)
    optimizer = OptimizerConfig().build(module)
    assert sum(p.numel() for group in optimizer.param_groups for p in group["params"]) == 41 + 41 + 82 + 2
    with pytest.raises(ValueError, match="nothing to train"):
        OptimizerConfig().build(module.requires_grad_(False))


def test_where_the_fused_kernel_is_deaf_the_plain_one_is_used(monkeypatch):
    assert OptimizerConfig().build(net()).defaults["fused"]
    monkeypatch.setattr("simflow.train.optim.DEAF", ("cpu",))
    assert not OptimizerConfig().build(net()).defaults["fused"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("limit", [None, 1e-3, 1e3])
def test_clipping_scales_all_gradients_together(limit, fused, dtype):
    module, twin = net(dtype), net(dtype)
    gradients = torch.cat([p.grad.flatten() for p in module.parameters()])
    config = OptimizerConfig(
        lr=0.1, eps=1e-3, fused=fused
    )  # at this eps a step depends on the gradient's size
    norm, skipped = step_clipped(config.build(module), limit)
    torch.testing.assert_close(norm, gradients.norm())
    assert skipped.item() == 0.0
    scale = 1e-3 / gradients.norm() if limit == 1e-3 else 1.0
    optimizer = config.build(twin)
    for p in twin.parameters():
        p.grad *= scale
    optimizer.step()
    for p, expected in zip(module.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("limit", [None, 1.0])
@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_broken_gradient_leaves_no_trace(fused, bad, limit):
    module = net()
    optimizer = OptimizerConfig(fused=fused).build(module)
    parameter = module.get_parameter("0.weight")
    healthy = {name: p.grad.clone() for name, p in module.named_parameters()}
    _, skipped = step_clipped(optimizer, limit)
    weights, state = copy.deepcopy(module.state_dict()), copy.deepcopy(optimizer.state_dict()["state"])
    parameter.grad[0, 0] = bad
    skipped += step_clipped(optimizer, limit)[1]
    assert skipped.item() == 1.0
    assert all(torch.equal(tensor, weights[name]) for name, tensor in module.state_dict().items())
    for number, moments in optimizer.state_dict()["state"].items():
        assert all(torch.equal(value, state[number][name]) for name, value in moments.items())
    for name, p in module.named_parameters():
        p.grad = healthy[name]
    assert step_clipped(optimizer, limit)[1].item() == 0.0
    assert not torch.equal(parameter, weights["0.weight"])
    assert optimizer.state[parameter]["step"].item() == 2
