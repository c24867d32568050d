"""Both grids show pixels as they are: black stays 0, white stays 255, and [-1, 1] becomes 0 .. 255 once.

The model that cannot hide a mistake of range is the identity: pixels as latents, no noise, an untrained flow.
"""

import numpy as np
import torch
from PIL import Image

from simflow.autoencoder.pixels import PixelsConfig
from simflow.cli.pictures import sampled_sheet
from simflow.evaluate.collect import Held
from simflow.evaluate.fidelity import reconstruct
from simflow.export import pairs_grid, save_picture
from simflow.flow.block import BlockConfig
from simflow.flow.stack import FlowConfig
from simflow.model import Facts, ModelConfig
from simflow.posterior import NoNoise
from simflow.sample import SampleConfig
from simflow.seeding import noise_for_seeds
from simflow.shapes import NULL

SIDE = 64  # a side that sheets do not enlarge


def identity():
    """Images are their own latents, and noise is its own sample."""
    prior = FlowConfig(patch=32, depths=(1,), block=BlockConfig(width=8, heads=1))
    config = ModelConfig(autoencoder=PixelsConfig(), posterior=NoNoise(), prior=prior)
    return config.build(Facts(image_size=SIDE, channels=1, class_names=())).eval()


def test_reconstruction_grid(tmp_path):
    every = (torch.arange(SIDE * SIDE) % 256).to(torch.uint8).reshape(1, 1, SIDE, SIDE)
    pictures, first = Held(pixels=every, labels=torch.tensor([NULL])), torch.tensor([0])
    picture = pairs_grid(every, reconstruct(identity(), pictures, first, seed=0).pixels, columns=1, gap=0)
    save_picture(picture, tmp_path / "grid.png")
    shown = np.asarray(Image.open(tmp_path / "grid.png").convert("L"))
    np.testing.assert_array_equal(shown[:SIDE], every[0, 0])
    np.testing.assert_array_equal(shown[SIDE:], every[0, 0])


def test_sample_grid(tmp_path):
    model = identity()
    picture = sampled_sheet(model, SampleConfig(guidance=None, batch=1))
    shown = np.asarray(picture.convert("L")).astype(float)
    noise = model.prior.inverse(noise_for_seeds([0], model.prior.noise_shape), torch.tensor([-1]))
    expected = ((noise[0, 0].clamp(-1, 1) + 1) * 127.5).round().numpy()
    assert expected.min() == 0
    assert expected.max() == 255
    corners = [np.abs(shown[y : y + SIDE, x : x + SIDE] - expected).max() for y in range(3) for x in range(3)]
    assert min(corners) == 0, "the first sample is not the noise it was made of"
