"""The dropped label is one model in both directions, and it is none of the classes."""

import pytest
import torch

from simflow.shapes import NULL
from tests.laws.cases import CLASSES, FLOWS, build, latents_for, noise_for


@pytest.mark.parametrize("name", FLOWS)
def test_no_class_is_the_same_model_in_both_directions(name):
    flow = build(FLOWS[name])
    x, nothing = latents_for(flow), torch.full((4,), NULL)
    z, _ = flow.forward(x, nothing)
    torch.testing.assert_close(flow.inverse(z.detach(), nothing), x, atol=1e-9, rtol=1e-9)
    for label in (0, CLASSES - 1):
        other = flow.inverse(z.detach(), torch.full((4,), label))
        assert (other - x).abs().max() > 1e-3, f"no class is class {label}"


@pytest.mark.parametrize(
    "name", [name for name, config in FLOWS.items() if config.block.null_class == "mean"]
)
def test_the_mean_class_is_the_mean_of_the_table(name):
    flow = build(FLOWS[name])
    z, nothing = noise_for(flow), torch.full((4,), NULL)
    expected = flow.inverse(z, nothing)
    for block in flow.chain():
        assert block.classes is not None
        assert block.classes.table.shape == (CLASSES, 8)
        block.classes.table.data[:] = block.classes.table.data.mean(dim=0)
    torch.testing.assert_close(flow.inverse(z, torch.full((4,), 2)), expected, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("name", [name for name, config in FLOWS.items() if config.block.null_class == "row"])
def test_the_null_row_is_apart_from_the_classes(name):
    flow = build(FLOWS[name])
    x, nothing = latents_for(flow), torch.full((4,), NULL)
    unconditional, _ = flow.forward(x, nothing)
    conditional, _ = flow.forward(x, torch.full((4,), CLASSES - 1))
    labelled = flow.chain() if FLOWS[name].labelled == "all" else flow.chain()[-1:]
    for block in labelled:
        assert block.classes is not None
        assert block.classes.table.shape == (CLASSES + 1, 8)
        block.classes.table.data[:CLASSES] += 1.0
    assert torch.equal(flow.forward(x, nothing)[0], unconditional)
    assert not torch.equal(flow.forward(x, torch.full((4,), CLASSES - 1))[0], conditional)


def test_a_flow_without_classes_has_one_model():
    for name in ("adaln-unchanged-exp", "mean class", "tarflow"):
        flow = build(FLOWS[name], classes=0)
        x, nothing = latents_for(flow), torch.full((4,), NULL)
        z, _ = flow.forward(x, nothing)
        torch.testing.assert_close(flow.inverse(z.detach(), nothing), x, atol=1e-9, rtol=1e-9)
