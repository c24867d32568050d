"""The convolutional autoencoder: published sizes and names, shapes, formats, gradients."""

import pytest
import torch

from simflow.autoencoder.kl import KLAutoencoder, KLConfig
from simflow.nn.conv import Downsample, SpatialAttention, Upsample

NARROW = {"latent_channels": 3, "width": 8, "multipliers": (1, 1, 2, 2, 2), "encoder_blocks": 1}


def narrow(*, moments=1, image_channels=3, dtype=torch.float64, **choices) -> KLAutoencoder:
    torch.manual_seed(0)
    config = KLConfig(**{**NARROW, **choices})
    return config.build(image_channels=image_channels, moments=moments).to(dtype)


def on_meta(*, moments=2, **choices) -> KLAutoencoder:
    with torch.device("meta"):
        return KLConfig(**choices).build(image_channels=3, moments=moments)


def parameters(module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("channels", "count", "published"),
    [(16, 66_456_019, 66.46), (32, 66_681_123, 66.68), (64, 67_139_011, 67.14), (128, 68_085_507, 68.09)],
)
def test_parameter_counts_are_those_of_mar(channels, count, published):
    both = parameters(on_meta(latent_channels=channels))
    assert both == count
    assert round(both / 1e6, 2) == published
    dropped = channels * (2 * channels + 1)
    assert parameters(on_meta(latent_channels=channels, moments=1)) == count - dropped


def test_parameter_counts_of_ldm():
    f8 = on_meta(latent_channels=4, multipliers=(1, 2, 4, 4), encoder_attention=False)
    assert parameters(f8) == 83_653_863
    assert len(f8.state_dict()) == 248
    assert {norm.eps for norm in f8.modules() if isinstance(norm, torch.nn.GroupNorm)} == {1e-6}
    assert f8.factor == 8
    extra = on_meta(latent_channels=16, decoder_attention=True)
    assert parameters(extra) - 66_456_019 == 3 * parameters(SpatialAttention(512).to("meta"))


def test_names_and_shapes_are_those_of_ldm():
    shapes = {name: tuple(tensor.shape) for name, tensor in on_meta(latent_channels=16).state_dict().items()}
    golden = {
        "encoder.conv_in.weight": (128, 3, 3, 3),
        "encoder.down.0.block.0.norm1.weight": (128,),
        "encoder.down.0.block.1.conv2.bias": (128,),
        "encoder.down.0.downsample.conv.weight": (128, 128, 3, 3),
        "encoder.down.2.block.0.conv1.weight": (256, 128, 3, 3),
        "encoder.down.2.block.0.nin_shortcut.weight": (256, 128, 1, 1),
        "encoder.down.4.block.0.nin_shortcut.weight": (512, 256, 1, 1),
        "encoder.down.4.block.1.norm2.bias": (512,),
        "encoder.down.4.attn.0.norm.weight": (512,),
        "encoder.down.4.attn.1.q.weight": (512, 512, 1, 1),
        "encoder.down.4.attn.1.proj_out.bias": (512,),
        "encoder.mid.block_1.conv1.weight": (512, 512, 3, 3),
        "encoder.mid.attn_1.k.weight": (512, 512, 1, 1),
        "encoder.mid.block_2.norm2.weight": (512,),
        "encoder.norm_out.weight": (512,),
        "encoder.conv_out.weight": (32, 512, 3, 3),
        "quant_conv.weight": (32, 32, 1, 1),
        "post_quant_conv.weight": (16, 16, 1, 1),
        "decoder.conv_in.weight": (512, 16, 3, 3),
        "decoder.mid.attn_1.v.bias": (512,),
        "decoder.up.4.block.2.conv2.weight": (512, 512, 3, 3),
        "decoder.up.4.upsample.conv.weight": (512, 512, 3, 3),
        "decoder.up.3.block.0.nin_shortcut.weight": (256, 512, 1, 1),
        "decoder.up.1.block.0.nin_shortcut.weight": (128, 256, 1, 1),
        "decoder.up.0.block.2.norm1.weight": (128,),
        "decoder.norm_out.bias": (128,),
        "decoder.conv_out.weight": (3, 128, 3, 3),
    }
    assert {name: shapes.get(name) for name in golden} == golden
    absent = ("encoder.down.4.downsample", "encoder.down.3.attn", "encoder.down.0.block.0.nin_shortcut")
    absent += ("decoder.up.0.upsample", "decoder.up.4.attn", "decoder.up.0.block.0.nin_shortcut")
    assert not [name for name in shapes if name.startswith(absent)]


@pytest.mark.parametrize("image_channels", [1, 3])
@pytest.mark.parametrize("moments", [1, 2])
def test_shapes(image_channels, moments):
    autoencoder = narrow(moments=moments, image_channels=image_channels, dtype=torch.float32)
    images = torch.rand(2, image_channels, 32, 48) * 2 - 1
    code = autoencoder.encode(images)
    assert code.shape == (2, 3 * moments, 2, 3)
    assert autoencoder.decode(code[:, :3]).shape == images.shape
    assert autoencoder.latent_shape(64) == (3, 4, 4)


def test_simflow_at_256_pixels():
    autoencoder = on_meta(moments=1)
    code = autoencoder.encode(torch.empty(2, 3, 256, 256, device="meta"))
    assert code.shape == (2, 64, 16, 16)
    assert autoencoder.decode(code).shape == (2, 3, 256, 256)


def test_normalized_mean_and_untouched_log_variance():
    plain, normalized = narrow(moments=2, normalize=False), narrow(moments=2)
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    raw, code = plain.encode(images), normalized.encode(images)
    mean = code[:, :3]
    torch.testing.assert_close(mean.mean(1), torch.zeros(2, 2, 2, dtype=torch.float64))
    torch.testing.assert_close(mean.var(1, unbiased=False), torch.ones(2, 2, 2).double(), rtol=1e-2, atol=0)
    centred = raw[:, :3] - raw[:, :3].mean(1, keepdim=True)
    spread = (centred.square().mean(1, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(mean, centred / spread)
    assert torch.equal(code[:, 3:], raw[:, 3:])


def test_code_of_a_flat_image_says_how_bright_it_is():
    """One channel per GroupNorm group would make every flat image the same, up to the border."""
    autoencoder = narrow(normalize=False)
    dark, bright = (torch.full((1, 3, 64, 64), level, dtype=torch.float64) for level in (-0.9, 0.9))
    code = torch.cat([autoencoder.encode(dark), autoencoder.encode(bright)])
    apart = (code[0] - code[1]).mean((1, 2)).norm()
    assert apart > 0.1 * code.mean((0, 2, 3)).norm()


@pytest.mark.parametrize("moments", [1, 2])
def test_every_parameter_gets_a_finite_gradient(moments):
    autoencoder = narrow(moments=moments, decoder_attention=True)
    code = autoencoder.encode(torch.randn(2, 3, 32, 32, dtype=torch.float64))
    autoencoder.decode(code[:, :3] + code[:, -3:]).square().mean().backward()
    for name, parameter in autoencoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        if not name.endswith(".k.bias"):  # a softmax does not see what is added to all its keys alike
            assert parameter.grad.abs().max() > 1e-12, name


def test_channels_last_equals_contiguous_and_is_kept():
    autoencoder = narrow(moments=2)
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    code = autoencoder.encode(images)
    decoded = autoencoder.decode(code[:, :3])
    autoencoder.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    code_last = autoencoder.encode(images.contiguous(memory_format=torch.channels_last))
    decoded_last = autoencoder.decode(code_last[:, :3])
    torch.testing.assert_close(code_last, code, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(decoded_last, decoded, rtol=1e-9, atol=1e-9)
    assert decoded_last.is_contiguous(memory_format=torch.channels_last)


def test_bfloat16_stays_near_float64():
    images = torch.randn(2, 3, 32, 32)
    exact, short = narrow(normalize=False), narrow(normalize=False, dtype=torch.bfloat16)
    want, got = exact.encode(images.double()), short.encode(images.bfloat16())
    assert got.dtype == torch.bfloat16
    assert (got.double() - want).norm() < 0.05 * want.norm()


def test_checkpointing_recomputes_and_changes_nothing():
    images = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    gradients, calls = [], []
    for checkpointing in (False, True):
        autoencoder = narrow(checkpointing=checkpointing)
        seen = []
        autoencoder.encoder.down[0].register_forward_pre_hook(lambda *_, seen=seen: seen.append(1))
        autoencoder.decode(autoencoder.encode(images)).square().mean().backward()
        gradients.append([parameter.grad for parameter in autoencoder.parameters()])
        calls.append(len(seen))
    assert calls == [1, 2]
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(recomputed, plain, rtol=1e-12, atol=1e-14)


def test_downsampling_pads_right_and_bottom_and_upsampling_repeats():
    down, up = Downsample(1), Upsample(1)
    for parameter in (*down.parameters(), *up.parameters()):
        torch.nn.init.zeros_(parameter)
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    with torch.no_grad():
        down.conv.weight[0, 0, 0, 0] = 1.0
        assert torch.equal(down(x), x[:, :, ::2, ::2])
        down.conv.weight[0, 0, 0, 0], down.conv.weight[0, 0, 2, 2] = 0.0, 1.0
        assert down(x)[0, 0].tolist() == [[10.0, 0.0], [0.0, 0.0]]
        up.conv.weight[0, 0, 1, 1] = 1.0
        assert torch.equal(up(x), x.repeat_interleave(2, 2).repeat_interleave(2, 3))


def test_attention_is_the_textbook_sum():
    torch.manual_seed(0)
    attention = SpatialAttention(8).double()
    x = torch.randn(2, 8, 3, 2, dtype=torch.float64)
    hidden = attention.norm(x)
    query, key, value = (part(hidden).flatten(2) for part in (attention.q, attention.k, attention.v))
    weights = torch.einsum("bci,bcj->bij", query, key).div(8**0.5).softmax(-1)
    mixed = torch.einsum("bij,bcj->bci", weights, value).reshape(x.shape)
    torch.testing.assert_close(attention(x), x + attention.proj_out(mixed))


def test_parts_cover_every_parameter_once():
    autoencoder = narrow()
    parts = torch.nn.ModuleList((*autoencoder.encoder_parts(), *autoencoder.decoder_parts()))
    assert {id(parameter) for parameter in parts.parameters()} == {id(p) for p in autoencoder.parameters()}
    assert set(autoencoder.encoder_parts()).isdisjoint(autoencoder.decoder_parts())


def test_mistakes_are_said_in_words():
    autoencoder = narrow()
    with pytest.raises(ValueError, match=r"multiples of 16 .*not 32 x 40"):
        autoencoder.encode(torch.zeros(1, 3, 32, 40, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"multiples of 16 .*not 250 x 250"):
        autoencoder.latent_shape(250)
    with pytest.raises(ValueError, match="not 3"):
        KLConfig().build(image_channels=3, moments=3)
    with pytest.raises(ValueError, match="at least one"):
        KLConfig(multipliers=())
