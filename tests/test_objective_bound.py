"""The bound that the loss is: below the likelihood by a known divergence, and in bits per dimension."""

import math

import pytest
import torch
from torch import distributions

from simflow.autoencoder.base import Autoencoder
from simflow.autoencoder.pixels import PixelsConfig
from simflow.evaluate.collect import Held
from simflow.evaluate.scores import score
from simflow.model import Facts, Model, ModelConfig
from simflow.objective import bits_per_dimension
from simflow.pixels import to_float
from simflow.posterior import FixedVariance
from simflow.shapes import NULL
from tests.laws.cases import flow


class Linear(Autoencoder):
    """``mean = gain * image`` and ``image = weight * latent``, number by number."""

    def __init__(self, *, weight: float, gain: float) -> None:
        super().__init__()
        self.weight, self.gain = weight, gain

    def encode(self, images):
        return self.gain * images

    def decode(self, latents):
        return self.weight * latents

    def latent_shape(self, image_size):
        return 1, image_size, image_size

    def encoder_parts(self):
        return ()

    def decoder_parts(self):
        return ()


WEIGHT, VARIANCE = 0.13, 0.004
"""So narrow that nothing is decoded beyond the range of images."""
BEST_STD = math.sqrt(VARIANCE / (WEIGHT**2 + VARIANCE))
BEST_GAIN = WEIGHT / (WEIGHT**2 + VARIANCE)


def linear_gaussian(*, gain, std) -> Model:
    """Latents ``N(0, 1)``, images ``WEIGHT * latent + N(0, VARIANCE)``: log p(image) is known."""
    facts = Facts(image_size=2, channels=1, class_names=())
    config = ModelConfig(autoencoder=PixelsConfig(), posterior=FixedVariance(std=std), prior=flow())
    model = config.build(facts)
    model.register_module("autoencoder", Linear(weight=WEIGHT, gain=gain))
    return model


@pytest.mark.parametrize(
    ("gain", "std"),
    [(BEST_GAIN, BEST_STD), (BEST_GAIN, 0.2), (BEST_GAIN, 1.0), (0.0, 1.0), (10.0, BEST_STD), (-5.0, 0.7)],
)
def test_the_elbo_is_below_the_likelihood_by_the_divergence_of_the_posterior(gain, std):
    """``log p(image) - ELBO = KL(q(x|image) || p(x|image))``, zero where q is the true posterior."""
    pixels = torch.tensor([[[[105, 155], [126, 100]]]], dtype=torch.uint8)
    image, count = to_float(pixels).double(), 1500
    likelihood = distributions.Normal(0.0, math.sqrt(WEIGHT**2 + VARIANCE)).log_prob(image).sum()
    q = distributions.Normal(gain * image, std)
    divergence = distributions.kl_divergence(q, distributions.Normal(BEST_GAIN * image, BEST_STD)).sum()
    labels = torch.full((count,), NULL)
    images = Held(pixels=pixels.expand(count, 1, 2, 2), labels=labels)
    model = linear_gaussian(gain=gain, std=std)
    found = score(model, images, torch.arange(count), labels, variance=VARIANCE, seed=0, batch=500).bits
    assert found.shape == (count,)
    error = 4 * found.std().item() / math.sqrt(count)
    expected = bits_per_dimension(likelihood - divergence, image.numel()).item()
    assert found.mean().item() == pytest.approx(expected, abs=error + 1e-5)
    assert divergence >= 0
    assert (divergence < 1e-9) == ((gain, std) == (BEST_GAIN, BEST_STD))


@pytest.mark.parametrize("levels", [255, 256])
def test_uniform_noise_costs_eight_bits(levels):
    """256 grey values, ``2 / levels`` apart: a uniform density over their cells is 8 bits a value."""
    numbers, step = 192, 2 / levels
    log_density = torch.full((3,), -numbers * math.log(256 * step), dtype=torch.float64)
    bits = bits_per_dimension(log_density, numbers, step=step)
    torch.testing.assert_close(bits, torch.full((3,), 8.0).double())
    if levels == 255:
        torch.testing.assert_close(bits_per_dimension(log_density, numbers), bits)


def test_a_certain_image_costs_nothing():
    log_density = torch.tensor([192 * math.log(255 / 2)], dtype=torch.float64)
    torch.testing.assert_close(
        bits_per_dimension(log_density, 192), torch.zeros(1).double(), atol=1e-9, rtol=0
    )
