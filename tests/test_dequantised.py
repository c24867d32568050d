"""Uniform dequantisation, and bits per dimension by TarFlow's protocol."""

import math

import pytest
import torch

from simflow.autoencoder.pixels import PixelsConfig
from simflow.flow.block import BlockConfig
from simflow.flow.stack import FlowConfig
from simflow.model import Facts, ModelConfig
from simflow.objective import bits_per_dimension
from simflow.pixels import to_float, to_uint8
from simflow.posterior import Dequantised

LEVELS = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)


def test_every_level_is_drawn_from_its_own_bin():
    images = to_float(LEVELS.expand(200, -1, -1, -1))
    drawn = Dequantised().sample(images, torch.Generator().manual_seed(0))
    bins = ((drawn.double() + 1) * 128).floor()
    assert (bins == LEVELS).double().mean() > 0.9999, "up to float rounding at the edges"
    inside = (drawn.double() + 1) * 128 - LEVELS
    assert abs(inside.mean().item() - 0.5) < 0.005
    assert abs(inside.var().item() - 1 / 12) < 0.002


def test_images_come_back_from_their_draws():
    """Every grey level from every draw of its bin; float64, so that no draw rounds across an edge."""
    model = ModelConfig(
        autoencoder=PixelsConfig(),
        posterior=Dequantised(),
        prior=FlowConfig(depths=(1,), block=BlockConfig(width=8, heads=2)),
    ).build(Facts(image_size=16, channels=1, class_names=()))
    images = to_float(LEVELS.expand(50, -1, -1, -1)).double()
    draws = model.encode(images, torch.Generator().manual_seed(0))
    assert torch.equal(to_uint8(model.decode(draws)), LEVELS.expand(50, -1, -1, -1))
    torch.testing.assert_close(model.decode(model.posterior.mean(images)), images)


def test_entropy_completes_the_bits():
    """The bits of the bound are those of the density at a step of 2 / 256."""
    log_density = torch.tensor([300.0, -20.0])
    images = torch.zeros(2, 3, 4, 4)
    bound = log_density + Dequantised().entropy(images)
    torch.testing.assert_close(-bound / 48 / math.log(2), bits_per_dimension(log_density, 48, step=2 / 256))


def test_uniform_noise_has_eight_bits():
    """A density of 1/2 a dimension on [-1, 1] says nothing of the image: 8 bits."""
    bits = bits_per_dimension(torch.tensor([48 * math.log(0.5)]), 48, step=2 / 256)
    assert bits.item() == pytest.approx(8.0)


def test_the_floor_is_zero_bits():
    """Energy a number at the floor, with its constant, is the least negative log density: that of one bin."""
    nats = Dequantised().floor + 0.5 * math.log(2 * math.pi)
    assert bits_per_dimension(torch.tensor([-48 * nats]), 48, step=2 / 256).item() == pytest.approx(
        0, abs=1e-6
    )


def test_bits_of_a_flow_are_the_published_formula():
    flow = FlowConfig(
        patch=2, depths=(1, 1), block=BlockConfig(width=16, heads=2, conditioning="added", null_class="mean")
    ).build(latent_shape=(1, 4, 4), classes=0)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
        x, labels = torch.rand(3, 1, 4, 4) * 2 - 1, torch.full((3,), -1)
        z, log_det = flow(x, labels)
        nll = (0.5 * (z**2 + math.log(2 * math.pi))).mean(dim=(1, 2)) + math.log(128) - log_det / 16
        bits = bits_per_dimension(flow.log_prob(x, labels), 16, step=2 / 256)
    torch.testing.assert_close(bits, nll / math.log(2))
