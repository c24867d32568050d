"""A flow that begins as a smaller one: no density changes, what is more learns, and nothing else may differ."""

from dataclasses import replace

import pytest
import torch

from simflow.sit.prior import SiTConfig
from simflow.start import StartFrom, start
from tests.test_start import SMALL, build, equal, other, saved

LARGER = {
    "deeper": replace(SMALL.prior, depths=(1, 3)),
    "longer": replace(SMALL.prior, depths=(2, 1, 1, 1)),
    "both": replace(SMALL.prior, depths=(1, 2, 1), first="reversed"),
}


@pytest.mark.parametrize("scale", ["exp", "softplus"])
@pytest.mark.parametrize("conditioning", ["adaln", "added", "prefix"])
@pytest.mark.parametrize("larger", LARGER)
def test_what_a_flow_has_more_changes_no_density_and_then_learns(tmp_path, larger, conditioning, scale):
    """A grown flow is the flow that it grew from, and every new layer and block gets a gradient."""
    block = replace(SMALL.prior.block, conditioning=conditioning, scale=scale)
    source = build(other(prior=replace(SMALL.prior, block=block)), seed=1)
    target = build(other(prior=replace(LARGER[larger], block=block)), seed=2)
    start(target, StartFrom(path=saved(source, tmp_path), grow=True))
    source, target = source.double(), target.double()
    latents, labels = torch.randn(3, *source.latent_shape).double(), torch.tensor([0, 1, -1])
    there, here = (model.prior.log_prob(latents, labels) for model in (source, target))
    torch.testing.assert_close(here.detach(), there, rtol=1e-13, atol=0)
    z = torch.randn(3, *source.prior.noise_shape).double()
    there, here = (model.prior.inverse(z, labels) for model in (source, target))
    torch.testing.assert_close(here, there, rtol=1e-12, atol=1e-12)
    target.prior.log_prob(latents, labels).sum().backward()
    more = len(LARGER[larger].depths) - len(SMALL.prior.depths)
    for block in target.prior.blocks[:more]:
        assert block.head.weight.grad.abs().sum() > 0
    for block in target.prior.blocks[more:]:
        for layer in block.transformer.layers[1:]:
            assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in layer.parameters())


def test_a_flow_from_text_grows_before_its_deep_block(tmp_path):
    """Blocks that are added do not see the label where the deep one alone does."""
    small = replace(SMALL.prior, labelled="deep")
    source = build(other(prior=small), seed=1)
    target = build(other(prior=replace(small, depths=(1, 1, 1, 1))), seed=2)
    start(target, StartFrom(path=saved(source, tmp_path), grow=True))
    latents, labels = torch.randn(3, *source.latent_shape), torch.tensor([0, 1, -1])
    torch.testing.assert_close(target.prior.log_prob(latents, labels), source.prior.log_prob(latents, labels))


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (
            other(prior=replace(SMALL.prior, depths=(2, 1, 1))),
            "number 2, has reversed: set .*first to reversed",
        ),
        (other(prior=replace(LARGER["deeper"], first="reversed")), "number 1, has reversed: set .*to raster"),
        (
            other(prior=replace(SMALL.prior, depths=(3,))),
            "there are \\[1, 1\\] layers there and \\[3\\] here",
        ),
        (other(prior=SiTConfig()), "type is FlowConfig there and SiTConfig here"),
    ],
    ids=["order of the old blocks", "order", "shorter", "kind"],
)
def test_a_flow_grows_in_depth_and_length_and_in_nothing_else(tmp_path, config, sentence):
    path = saved(build(seed=1), tmp_path)
    target, before = build(config, seed=2), build(config, seed=2)
    with pytest.raises(ValueError, match=sentence):
        start(target, StartFrom(path=path, grow=True))
    assert equal(target, before)
    deep = replace(SMALL, prior=LARGER["deeper"])
    path = saved(build(deep, seed=1), tmp_path / "deep")
    with pytest.raises(
        ValueError, match="can only grow, by more layers per block or more blocks on the data side"
    ):
        start(build(seed=2), StartFrom(path=path, grow=True))


def test_an_autoencoder_does_not_grow():
    with pytest.raises(ValueError, match="grow is for a flow, and"):
        StartFrom(path="x", parts="autoencoder", grow=True)
