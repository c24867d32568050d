"""The flows of the paper's Table 8, to the digit that the table gives; nothing is allocated."""

import pytest
import torch

from simflow.autoencoder.kl import KLConfig
from simflow.flow.block import BlockConfig
from simflow.flow.stack import FlowConfig

SIZES = {
    "S": (384, 6, 2, 37.0e6),
    "B": (768, 12, 2, 141.3e6),
    "L": (1024, 16, 14, 474.9e6),
    "XL": (1152, 16, 18, 695.3e6),
    "XXL": (1152, 16, 46, 1364.6e6),
}


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("size", SIZES)
def test_the_sizes_of_table_8(size):
    width, heads, deep, count = SIZES[size]
    config = FlowConfig(depths=(2, 2, 2, 2, 2, deep), block=BlockConfig(width=width, heads=heads))
    with torch.device("meta"):
        flow = config.build(latent_shape=(64, 16, 16), classes=1000)
    assert abs(parameters(flow) / count - 1) < 0.003
    assert flow.noise_shape == (256, 64)
    layers = sum(config.depths)
    block = 65 * width + 256 * width + 1001 * width + 2 * (width + 1) * width + 128 * (width + 1)
    layer = 12 * width**2 + 9 * width + 6 * width * (width + 1)
    assert parameters(flow) == 6 * block + layers * layer


def test_the_default_flow_is_simflow_b():
    with torch.device("meta"):
        flow = FlowConfig().build(latent_shape=(64, 16, 16), classes=1000)
    assert abs(parameters(flow) / 141.3e6 - 1) < 0.003


def test_the_autoencoder_of_the_paper():
    with torch.device("meta"):
        autoencoder = KLConfig().build(image_channels=3, moments=2)
    assert round(parameters(autoencoder) / 1e6, 1) == 67.1
    assert autoencoder.latent_shape(256) == (64, 16, 16)
    assert autoencoder.latent_shape(512) == (64, 32, 32)
