"""The average follows its recurrence in float32, copies buffers, and gives the weights back exactly."""

import pytest
import torch
from torch import nn

from simflow.train.ema import EmaConfig


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def move(module: nn.Module, step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator))
    module(torch.randn(5, 3, generator=generator))


@pytest.mark.parametrize(("warmup", "rates"), [(False, [0.9] * 3), (True, [1 / 10, 2 / 11, 3 / 12])])
def test_follows_its_recurrence(warmup, rates):
    module = net()
    ema = EmaConfig(rate=0.9, warmup=warmup).build(module)
    expected = {name: p.detach().double() for name, p in module.named_parameters()}
    for step, rate in enumerate(rates):
        move(module, step)
        ema.update(module)
        for name, p in module.named_parameters():
            expected[name] = rate * expected[name] + (1 - rate) * p.detach().double()
    assert ema.steps == 3
    for name, value in expected.items():
        torch.testing.assert_close(ema.weights[name].double(), value, rtol=1e-6, atol=1e-6)


def test_the_shadow_has_the_names_of_the_state_dict_and_copies_buffers():
    module = net()
    ema = EmaConfig().build(module)
    move(module, 0)
    ema.update(module)
    assert ema.weights.keys() == module.state_dict().keys()
    assert torch.equal(ema.weights["1.running_mean"], module.get_buffer("1.running_mean"))
    assert ema.weights["1.num_batches_tracked"].item() == 1
    net().load_state_dict(ema.weights)


def test_the_shadow_of_bfloat16_weights_is_float32_and_moves_by_less_than_their_resolution():
    module = net().bfloat16()
    ema = EmaConfig(rate=0.9999, warmup=False).build(module)
    before = ema.weights["0.bias"].clone()
    with torch.no_grad():
        module.get_parameter("0.bias").add_(1)
    ema.update(module)
    assert ema.weights["0.bias"].dtype == torch.float32
    torch.testing.assert_close(ema.weights["0.bias"] - before, torch.full((4,), 1e-4), rtol=0.01, atol=1e-6)


def test_applied_lends_the_average_and_gives_the_weights_back_exactly():
    module = net().bfloat16()
    ema = EmaConfig(rate=0.5).build(module)
    with torch.no_grad():
        module.get_parameter("0.weight").mul_(3)
    own = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with ema.applied(module):
        assert torch.equal(module.get_parameter("0.weight"), ema.weights["0.weight"].bfloat16())
        assert not torch.equal(module.get_parameter("0.weight"), own["0.weight"])
    assert all(torch.equal(tensor, own[name]) for name, tensor in module.state_dict().items())


def test_applied_gives_the_weights_back_after_an_error():
    module = net()
    ema = EmaConfig().build(module)
    move(module, 0)
    own = module.get_parameter("0.weight").clone()
    with pytest.raises(ValueError, match="broken"), ema.applied(module):
        raise ValueError("broken")
    assert torch.equal(module.get_parameter("0.weight"), own)


def test_copy_to_and_load():
    module, other = net(), net()
    ema = EmaConfig(rate=0.9).build(module)
    move(module, 0)
    ema.update(module)
    ema.copy_to(other)
    assert all(torch.equal(tensor, ema.weights[name]) for name, tensor in other.state_dict().items())
    fresh = EmaConfig(rate=0.9).build(net())
    fresh.load(ema.weights, ema.steps)
    move(module, 1)
    for average in (ema, fresh):
        average.update(module)
    assert fresh.steps == ema.steps == 2
    assert all(torch.equal(fresh.weights[name], ema.weights[name]) for name in ema.weights)


def test_tied_weights_stay_tied():
    module = net()
    module.add_module("tied", module.get_submodule("0"))
    ema = EmaConfig(rate=0.9, warmup=False).build(module)
    with torch.no_grad():
        module.get_parameter("0.weight").mul_(3)
    ema.update(module)
    assert torch.equal(ema.weights["tied.weight"], ema.weights["0.weight"])
    ema.copy_to(module)
    assert torch.equal(module.get_parameter("0.weight"), ema.weights["0.weight"])


@pytest.mark.parametrize("rate", [1.0, -0.1])
def test_an_impossible_rate_is_a_sentence(rate):
    with pytest.raises(ValueError, match=r"the EMA rate must be in \[0, 1\)"):
        EmaConfig(rate=rate)
