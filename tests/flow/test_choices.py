"""What the choices of a block add to its parameters, what they do, and which are refused. The laws are elsewhere."""

import pytest
import torch

from simflow.flow.base import FittedNormal
from simflow.flow.block import BlockConfig
from simflow.flow.guidance import GaussianProduct, LogScale
from simflow.flow.stack import FlowConfig
from simflow.nn.rotary import Rotary
from simflow.shapes import NULL


def build(*, classes=3, labelled="all", depths=(1, 1, 2), **block):
    config = FlowConfig(depths=depths, labelled=labelled, block=BlockConfig(width=16, heads=2, **block))
    return config.build(latent_shape=(2, 2, 3), classes=classes)


def names(flow):
    return {name for name, _ in flow.named_parameters()}


@pytest.mark.parametrize("conditioning", ["added", "prefix"])
def test_only_labelled_blocks_have_a_class_table(conditioning):
    tables = [
        block.classes is not None for block in build(labelled="deep", conditioning=conditioning).chain()
    ]
    assert tables == [False, False, True]
    assert not any("classes" in name for name in names(build(classes=0, conditioning=conditioning)))


def test_adaln_learns_one_vector_where_there_are_no_classes():
    flow = build(classes=0)
    assert [tuple(block.classes.table.shape) for block in flow.chain()] == [(1, 16)] * 3


def test_labels_reach_the_deep_block_only():
    flow = build(labelled="deep", conditioning="prefix", depths=(1, 1))
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
        x = torch.randn(2, 6, 2)
        shallow, deep = flow.chain()
        for block, differs in ((shallow, False), (deep, True)):
            first, _, _ = block(x, block.condition(torch.tensor([0, 0])))
            second, _, _ = block(x, block.condition(torch.tensor([1, NULL])))
            assert torch.equal(first, second) != differs


def test_rotary_positions_replace_the_table():
    assert names(build()) - names(build(positions=Rotary())) == {f"blocks.{i}.positions" for i in range(3)}


def test_a_block_that_preserves_volume_has_half_the_outputs():
    assert [len(block.head.weight) for block in build(scale="none").chain()] == [2, 2, 2]
    assert [len(block.head.weight) for block in build(scale="softplus").chain()] == [4, 4, 4]


def test_a_fitted_base_converges_to_the_variance_of_the_noise():
    config = FlowConfig(
        depths=(1,),
        block=BlockConfig(width=16, heads=2, conditioning="added", scale="none"),
        base=FittedNormal(),
    )
    flow = config.build(latent_shape=(2, 2, 2), classes=0)
    std = torch.tensor([0.5, 2.0])[:, None, None]
    for _ in range(60):
        flow.energy(std * torch.randn(512, 2, 2, 2), torch.full((512,), NULL), torch.Generator())
        flow.settle(lambda seen: seen)
    torch.testing.assert_close(flow.base.variance.mean(dim=0), torch.tensor([0.25, 4.0]), rtol=0.1, atol=0)


def test_guidance_at_a_temperature_needs_no_classes():
    assert LogScale().needs_classes
    assert GaussianProduct().needs_classes
    assert not LogScale(temperature=1.5).needs_classes


def test_bad_choices_are_refused_in_one_sentence():
    with pytest.raises(ValueError, match="leave final_norm off"):
        BlockConfig(final_norm=True)
    with pytest.raises(ValueError, match="8 with 2 still ones leave 6"):
        build(positions=Rotary(still=2))
    with pytest.raises(ValueError, match="temperature of guidance must be positive and finite, not 0"):
        LogScale(temperature=0.0)
