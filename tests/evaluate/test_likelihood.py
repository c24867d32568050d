"""The bound in closed form, where the flow is still the identity and the autoencoder too."""

import math

import pytest
import torch

from simflow.autoencoder.pixels import PixelsConfig
from simflow.evaluate.likelihood import decoder_variance, elbo_bits
from simflow.flow.block import BlockConfig
from simflow.flow.stack import FlowConfig
from simflow.model import Facts, ModelConfig
from simflow.pixels import to_float
from simflow.posterior import Dequantised, FixedVariance, NoNoise
from simflow.seeding import generator


def pixel_model(posterior):
    torch.manual_seed(0)
    prior = FlowConfig(depths=(1,), patch=4, block=BlockConfig(width=8, heads=1))
    config = ModelConfig(autoencoder=PixelsConfig(), posterior=posterior, prior=prior)
    return config.build(Facts(image_size=16, channels=1, class_names=("a", "b"))).eval()


def images(count, seed=0):
    """Images of different brightness, so that some are dearer than others."""
    draws = torch.Generator().manual_seed(seed)
    low = torch.randint(200, (count, 1, 1, 1), generator=draws)
    return (low + torch.randint(56, (count, 1, 16, 16), generator=draws)).to(torch.uint8)


LABELS = torch.arange(60) % 2


def standard_normal_bits(unseen, variance):
    """Bits of ``log N(x; 0, 1)`` expected for ``x`` of mean ``unseen`` and this variance, image by image."""
    square = to_float(unseen).square().mean(dim=(1, 2, 3)) + variance
    return (0.5 * math.log(2 * math.pi) + 0.5 * square) / math.log(2)


def test_the_elbo_of_noisy_pixels_is_the_density_of_the_prior():
    """Decoder term and entropy cancel where the decoder's variance is that of the noise."""
    found = elbo_bits(pixel_model(FixedVariance(std=0.3)), images(80, seed=1), images(60), LABELS)
    assert found.decoder_variance == pytest.approx(0.09, rel=0.03)
    expected = standard_normal_bits(images(60), 0.09) - math.log2(2 / 255)
    assert found.bits_per_dimension == pytest.approx(expected.mean().item(), abs=0.02)
    draw = (1 + 0.09) * math.sqrt(2 / 256) / 2 / math.log(2)  # half a mean of 256 squared normal numbers
    spread = math.hypot(expected.std().item(), draw)
    assert found.standard_error == pytest.approx(spread / math.sqrt(60), rel=0.15)


def test_dequantised_pixels_need_no_decoder():
    found = elbo_bits(pixel_model(Dequantised()), images(1), images(60), LABELS)
    expected = standard_normal_bits(images(60), 0) - math.log2(2 / 256)
    assert found.decoder_variance is None
    assert found.bits_per_dimension == pytest.approx(expected.mean().item(), abs=0.01)


def test_only_training_images_set_the_variance_and_only_held_out_ones_are_coded():
    model = pixel_model(FixedVariance(std=0.3))
    dark, bright = torch.full_like(images(60), 3), torch.full_like(images(60), 250)
    results = [elbo_bits(model, train, images(60), LABELS) for train in (dark, bright)]
    assert results[0].decoder_variance == pytest.approx(results[1].decoder_variance, abs=1e-6)
    assert results[0].bits_per_dimension == pytest.approx(results[1].bits_per_dimension, abs=1e-5)


def test_a_variance_from_other_images_is_used_as_it_is():
    """Half of ``error / v + log v`` nats per pixel, where ``v`` is the training error and not the held-out one."""
    model = pixel_model(FixedVariance(std=0.3))
    model.decode = lambda latents: latents + 0.5 * (latents < -0.5)
    dark = torch.full_like(images(200), 20)
    bright = torch.full_like(images(60), 200)
    v = decoder_variance(model, dark, generator(0, "train"))
    assert v > 0.2
    other, honest = (elbo_bits(model, train, bright, LABELS) for train in (dark, bright))
    assert other.decoder_variance == v
    assert honest.decoder_variance == pytest.approx(0.09, rel=0.05)
    cost = 0.5 * (0.09 / v - 1 + math.log(v / 0.09)) / math.log(2)
    assert other.bits_per_dimension - honest.bits_per_dimension == pytest.approx(cost, abs=0.02)


def test_it_is_deterministic_and_a_matter_of_the_seed():
    model = pixel_model(FixedVariance(std=0.3))
    first, again, other = (elbo_bits(model, images(9), images(9), LABELS[:9], seed=s) for s in (0, 0, 1))
    assert first == again != other


def test_batches_leave_out_nothing():
    model = pixel_model(FixedVariance(std=0.3))
    whole, parts = (elbo_bits(model, images(50), images(60), LABELS, batch=b) for b in (64, 7))
    assert whole.decoder_variance == pytest.approx(parts.decoder_variance, rel=0.03)
    assert whole.bits_per_dimension == pytest.approx(parts.bits_per_dimension, abs=0.03)


@pytest.mark.parametrize(
    ("posterior", "train", "count", "sentence"),
    [
        (NoNoise(), 5, 5, "no bound"),
        (FixedVariance(), 5, 1, "at least two held-out"),
        (FixedVariance(), 0, 5, "needs training images"),
    ],
)
def test_what_has_no_bound_is_a_sentence(posterior, train, count, sentence):
    with pytest.raises(ValueError, match=sentence):
        elbo_bits(pixel_model(posterior), images(train), images(count), LABELS[:count])
