"""A block one token at a time is the block in parallel: the same affine maps from the same tokens."""

import pytest
import torch

from simflow.flow.compiled import CompiledStep
from simflow.flow.guidance import LogScale
from simflow.flow.guided import condition_for
from simflow.flow.order import reorder
from simflow.flow.sequential import BlockStep
from simflow.native.library import Library, library
from tests.laws.cases import FLOWS, build, labels_for, noise_for


def loops() -> Library:
    """The compiled loops of this machine; CI's has a compiler."""
    found = library()
    if found is None:
        pytest.skip("no C compiler")
    return found


@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.parametrize(
    ("dtype", "tolerance", "compiled", "half"),
    [
        (torch.float64, 1e-10, False, False),
        (torch.float32, 1e-5, False, False),
        (torch.float32, 1e-5, True, False),
        (torch.float32, 0.05, True, True),
    ],
)
@pytest.mark.parametrize("name", FLOWS)
def test_steps_give_the_maps_of_the_parallel_pass(name, dtype, tolerance, compiled, half, temperature):
    flow = build(FLOWS[name], dtype=dtype)
    x = noise_for(flow, dtype=dtype)
    for block in flow.chain():
        with torch.no_grad():
            condition = condition_for(block, labels_for(), LogScale(temperature=temperature))
            tokens = reorder(x, block.order).repeat(2, 1, 1)
            expected, _ = block.affine_of(tokens, condition)
            if compiled:
                step = CompiledStep(block, condition, rows=8, half=half, loops=loops())
            else:
                step = BlockStep(block, condition, rows=8, wide=dtype)
            inputs = tokens[:, :-1]
            if block.start is not None:
                inputs = torch.cat([block.start.expand(8, 1, -1), inputs], dim=1)
            for i, token in enumerate(inputs.unbind(1)):
                affine = step(token, i)
                index = i + (block.start is None)
                for found, wanted in zip(affine, expected, strict=True):
                    torch.testing.assert_close(found[:, 0], wanted[:, index], atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("name", ["adaln-unchanged-exp", "tarflow", "starflow"])
def test_latents_can_be_differentiated_through_later(name):
    """Decoding runs in inference mode; what it gives does not belong to it."""
    flow, labels = build(FLOWS[name]), labels_for()
    x = flow.inverse(noise_for(flow), labels).requires_grad_()
    (gradient,) = torch.autograd.grad(flow.log_prob(x, labels).sum(), x)
    assert gradient.abs().max() > 0
