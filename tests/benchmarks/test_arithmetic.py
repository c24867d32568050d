"""Operations counted by formula, by hand, and as they run."""

import pytest
import torch

from benchmarks.arithmetic import a_pass, a_walk, counted_flop, forward_flop
from benchmarks.ceilings import Ceilings, Work, ceilings
from benchmarks.recipe_step import RecipeStep, flop_of_an_image, variant
from benchmarks.sizes import Size, published
from benchmarks.subject import Setting
from simflow.flow.block import BlockConfig
from simflow.flow.stack import Flow, FlowConfig
from simflow.pixels import to_float

CPU = torch.device("cpu")
TINY = {"images": 2, "grid": 2, "channels": 2, "depths": (1,), "width": 8, "heads": 1, "classes": 3}
WEIGHTS = 2 * 8 + (3 + 1 + 4 + 4) * 8 * 8 + 8 * 4
"""Into the block, a layer, out of it."""


def test_by_hand():
    """Four tokens of two numbers; the last is not looked at, so three walk through."""
    flow = Size(**TINY).build(CPU)
    products, pairs = 2 * 3 * WEIGHTS, 1 + 2 + 3
    assert forward_flop(flow, 5) == 5 * (products + 4 * 8 * pairs)
    assert forward_flop(flow, 1, causal=False) == products + 4 * 8 * 9
    assert a_pass(flow, 5, itemsize=2) == Work(forward_flop(flow, 5), 2 * WEIGHTS + 2 * 4 * 5 * 4 * 2)
    assert a_walk(flow, 5, itemsize=2) == Work(forward_flop(flow, 5), 2 * (3 * WEIGHTS + 5 * 2 * 8 * pairs))


def test_modulations_are_for_an_image_not_for_a_token():
    flow, plain = Size(**TINY, conditioning="adaln").build(CPU), Size(**TINY).build(CPU)
    assert forward_flop(flow, 4) - forward_flop(plain, 4) == 4 * 2 * (6 + 2) * 8 * 8


@pytest.mark.parametrize("conditioning", ["added", "adaln", "prefix"])
@pytest.mark.parametrize("size", [Size(**TINY), Size(images=3, grid=3, depths=(2, 1), width=32, heads=2)])
def test_as_it_runs(size, conditioning):
    flow = Size(**{**vars(size), "conditioning": conditioning}).build(CPU)
    x = torch.randn(size.images, *flow.latent_shape, requires_grad=True)
    labels = torch.zeros(size.images, dtype=torch.long)
    once = counted_flop(lambda: flow(x.detach(), labels))
    assert once == forward_flop(flow, size.images, causal=False)

    def step() -> None:
        flow.energy(x, labels, torch.Generator()).value.sum().backward()

    assert counted_flop(step) == 3 * once


def test_a_recipe_is_its_flow_and_its_autoencoder():
    """The step of the demo without its flow is the autoencoder's, and the flow's is three forward passes."""
    setting = Setting(device=CPU, ceilings=Ceilings(1.0, 1.0))
    config = variant("demo", side=None, losses="plain", dtype="float32")
    step = RecipeStep(config, setting)
    model, images = step.objective.model, to_float(step.random(2).images)

    def autoencoder() -> None:
        model.decode(model.encode(images, torch.Generator())).sum().backward()

    both = flop_of_an_image(config, setting)
    assert isinstance(model.prior, Flow)
    assert both == counted_flop(autoencoder) / 2 + 3 * forward_flop(model.prior, 1, causal=False)


def test_a_floor_is_the_larger_of_two_times():
    rates = Ceilings(flops=100.0, bandwidth=10.0)
    assert Work(flop=200.0, bytes=10.0).seconds(rates) == 2.0
    assert Work(flop=200.0, bytes=50.0).seconds(rates) == 5.0


def test_rates_are_measured():
    rates = ceilings(CPU, "bfloat16", side=32, copied=1024)
    assert rates.flops > 0
    assert rates.bandwidth > 0


def test_published_geometry():
    """Tokens, depths and widths of Table 8; without adaLN the products of XXL are 56 layers of 12 squares."""
    size = published("XXL", images=4)
    assert (size.tokens, size.channels, size.depths, size.width, size.heads) == (
        256,
        64,
        (2, 2, 2, 2, 2, 46),
        1152,
        16,
    )
    with torch.device("meta"):
        flow = FlowConfig(
            depths=size.depths, block=BlockConfig(width=size.width, heads=size.heads, conditioning="added")
        ).build(latent_shape=(64, 16, 16), classes=1000)
    products = 2 * 255 * (56 * 12 * 1152**2 + 6 * 3 * 64 * 1152)
    assert forward_flop(flow, 1) == products + 4 * 56 * 1152 * 255 * 128
