"""Features in bfloat16 stay so through norm and activation, and near to those of float32."""

import pytest
import torch
from torch.nn import functional as F

from simflow.nn.conv import ResidualBlock, Upsample, group_norm, norm_silu


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_it_is_the_silu_of_the_norm(dtype):
    torch.manual_seed(0)
    norm, x = group_norm(16).to(dtype), torch.randn(2, 16, 5, 5, dtype=dtype)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    assert torch.equal(norm_silu(norm, x), F.silu(norm(x)))


@pytest.mark.parametrize(
    "module", [ResidualBlock(16, 16), Upsample(16)], ids=lambda module: type(module).__name__
)
def test_autocast_does_not_widen_features_on_their_way(module):
    torch.manual_seed(0)
    x, seen = torch.randn(2, 16, 6, 6), []
    exact = module(x)
    hooks = [
        part.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].dtype))
        for part in module.modules()
        if isinstance(part, torch.nn.Conv2d)
    ]
    with torch.autocast("cpu", torch.bfloat16):
        rough = module(x.bfloat16())
    for hook in hooks:
        hook.remove()
    assert set(seen) == {torch.bfloat16}
    assert rough.dtype == torch.bfloat16
    assert 0 < (rough.float() - exact).abs().max() < 0.05
