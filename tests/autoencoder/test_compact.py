"""The slot image <-> code: the compact autoencoder, the identity, the norm of a token, and parts that cover all."""

import pytest
import torch
from torch.nn import functional as F

from simflow.autoencoder.base import normalize_tokens
from simflow.autoencoder.compact import CompactConfig
from simflow.autoencoder.kl import KLConfig
from simflow.autoencoder.pixels import PixelsConfig
from tests.laws.cases import randomise

SMALL = CompactConfig(latent_channels=3, patch=2, widths=(8, 16))
EVERY = {
    "compact": SMALL,
    "compact, one level": CompactConfig(latent_channels=3, patch=2, widths=(8,), decoder_blocks=2),
    "kl": KLConfig(latent_channels=3, width=8, multipliers=(1, 1, 2), encoder_blocks=1),
}


@pytest.mark.parametrize("moments", [1, 2])
@pytest.mark.parametrize("image_channels", [1, 3])
@pytest.mark.parametrize("name", EVERY)
def test_shapes_follow_from_the_image_side(name, image_channels, moments):
    autoencoder = EVERY[name].build(image_channels=image_channels, moments=moments)
    for side in (8, 16):
        shape = autoencoder.latent_shape(side)
        code = autoencoder.encode(torch.randn(2, image_channels, side, side))
        assert code.shape == (2, moments * shape[0], *shape[1:])
        assert autoencoder.decode(torch.randn(2, *shape)).shape == (2, image_channels, side, side)


def test_the_factor_of_the_compact_autoencoder():
    assert SMALL.build(image_channels=1, moments=1).latent_shape(32) == (3, 8, 8)
    assert CompactConfig().build(image_channels=1, moments=1).latent_shape(32) == (16, 4, 4)
    assert EVERY["compact, one level"].build(image_channels=1, moments=1).latent_shape(32) == (3, 16, 16)


@pytest.mark.parametrize("name", EVERY)
def test_a_side_that_does_not_fit_is_refused(name):
    with pytest.raises(ValueError, match="multiple"):
        EVERY[name].build(image_channels=1, moments=1).latent_shape(15)


@pytest.mark.parametrize("moments", [1, 2])
@pytest.mark.parametrize("name", EVERY)
def test_every_parameter_has_a_finite_gradient(name, moments):
    autoencoder = EVERY[name].build(image_channels=3, moments=moments)
    randomise(autoencoder, size=0.05)
    code = autoencoder.encode(torch.randn(2, 3, 8, 8))
    weights = torch.randn(code.shape)
    ((code * weights).sum() + autoencoder.decode(code[:, :3]).square().sum()).backward()
    for key, parameter in autoencoder.named_parameters():
        assert parameter.grad is not None, f"{key} has no gradient"
        assert parameter.grad.isfinite().all(), f"the gradient of {key} is not finite"
        assert parameter.grad.any(), f"the gradient of {key} is zero"


@pytest.mark.parametrize("moments", [1, 2])
@pytest.mark.parametrize("name", [*EVERY, "pixels"])
def test_the_parts_cover_every_parameter_once(name, moments):
    if name == "pixels":
        autoencoder = PixelsConfig().build(image_channels=3, moments=1)
    else:
        autoencoder = EVERY[name].build(image_channels=3, moments=moments)
    parts = (*autoencoder.encoder_parts(), *autoencoder.decoder_parts())
    covered = [id(parameter) for part in parts for parameter in part.parameters()]
    assert len(covered) == len(set(covered))
    assert set(covered) == {id(parameter) for parameter in autoencoder.parameters()}


@pytest.mark.parametrize("name", EVERY)
def test_the_encoder_parts_encode_and_the_decoder_parts_decode(name):
    autoencoder = EVERY[name].build(image_channels=3, moments=1)
    randomise(autoencoder, size=0.05)
    x = torch.randn(2, 3, 8, 8)
    z = torch.randn(2, *autoencoder.latent_shape(8))
    code, image = autoencoder.encode(x), autoencoder.decode(z)
    for part in autoencoder.decoder_parts():
        randomise(part)
    assert torch.equal(autoencoder.encode(x), code)
    assert not torch.equal(autoencoder.decode(z), image)
    image = autoencoder.decode(z)
    for part in autoencoder.encoder_parts():
        randomise(part)
    assert torch.equal(autoencoder.decode(z), image)
    assert not torch.equal(autoencoder.encode(x), code)


@pytest.mark.parametrize("name", EVERY)
def test_image_i_depends_on_no_batch_mate(name):
    autoencoder = EVERY[name].build(image_channels=3, moments=1).double()
    x = torch.randn(3, 3, 8, 8, dtype=torch.float64)
    code = autoencoder.encode(x)
    torch.testing.assert_close(autoencoder.encode(x[1:2]), code[1:2], atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(
        autoencoder.decode(code[1:2]), autoencoder.decode(code)[1:2], atol=1e-10, rtol=1e-10
    )


def test_every_token_of_the_mean_has_mean_zero_and_variance_one():
    """LayerNorm bounds the signal-to-noise ratio of a token at ``1 / std**2``."""
    code = 5 + 3 * torch.randn(2, 6, 4, 5)
    out = normalize_tokens(code, 6)
    torch.testing.assert_close(out.mean(dim=1), torch.zeros(2, 4, 5), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.var(dim=1, unbiased=False), torch.ones(2, 4, 5), atol=1e-4, rtol=0)
    token = F.layer_norm(code[1, :, 2, 3], (6,))
    torch.testing.assert_close(out[1, :, 2, 3], token)


def test_a_log_variance_passes_the_norm_unchanged():
    code = torch.randn(2, 6, 4, 5)
    out = normalize_tokens(code, 3)
    assert torch.equal(out[:, 3:], code[:, 3:])
    torch.testing.assert_close(out[:, :3], normalize_tokens(code[:, :3], 3))


@pytest.mark.parametrize("moments", [1, 2])
def test_the_norm_is_a_choice(moments):
    torch.manual_seed(3)
    normed = SMALL.build(image_channels=1, moments=moments)
    plain = CompactConfig(latent_channels=3, patch=2, widths=(8, 16), normalize=False).build(
        image_channels=1, moments=moments
    )
    plain.load_state_dict(normed.state_dict())
    x = torch.randn(2, 1, 8, 8)
    torch.testing.assert_close(normed.encode(x), normalize_tokens(plain.encode(x), 3))
    assert not torch.equal(normed.encode(x), plain.encode(x))


def test_pixels_are_the_identity():
    pixels, x = PixelsConfig().build(image_channels=3, moments=1), torch.randn(2, 3, 8, 6)
    assert torch.equal(pixels.encode(x), x)
    assert torch.equal(pixels.decode(x), x)
    assert pixels.latent_shape(8) == (3, 8, 8)


def test_pixels_have_one_moment():
    with pytest.raises(ValueError, match="choose a posterior with one moment"):
        PixelsConfig().build(image_channels=3, moments=2)
