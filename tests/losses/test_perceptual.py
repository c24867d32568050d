"""The arithmetic of LPIPS, written out a second time; ranges, gray images, gradients, and the files it is read from."""

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from simflow.evaluate.lpips import AlexNet
from simflow.losses.backbones import VGG16, SqueezeNet11
from simflow.losses.perceptual import VGG16_CONVS, Perceptual, SqueezeNetDistance, VGG16Distance, unit


@pytest.fixture(scope="module")
def embedded():
    return SqueezeNetDistance().build()


@pytest.fixture(scope="module")
def random_vgg():
    torch.manual_seed(0)
    state = {}
    channels = 3
    widths = (64, 64, 128, 128, *[256] * 3, *[512] * 6)
    for number, width in zip(VGG16_CONVS, widths, strict=True):
        state[f"features.{number}.weight"] = torch.randn(width, channels, 3, 3) * (2 / (9 * channels)) ** 0.5
        state[f"features.{number}.bias"] = 0.1 * torch.randn(width)
        channels = width
    heads = {f"lin{n}.model.1.weight": torch.rand(1, w, 1, 1) for n, w in enumerate((64, 128, 256, 512, 512))}
    return state, heads


def images(seed: int, *shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_features_have_unit_length_in_float32_however_faint():
    for features in (images(0, 2, 5, 3, 3).bfloat16(), 1e-7 * images(0, 2, 5, 3, 3)):
        assert unit(features).dtype == torch.float32
        torch.testing.assert_close(unit(features).norm(dim=1), torch.ones(2, 3, 3), rtol=5e-3, atol=0)


def lpips(first: list[torch.Tensor], second: list[torch.Tensor], heads: list[torch.Tensor]) -> torch.Tensor:
    """As the lpips package computes it: normalise with eps outside the root, 1x1 convolution, mean, sum."""
    total = 0.0
    for a, b, head in zip(first, second, heads, strict=True):
        a = a / (torch.sqrt(torch.sum(a**2, dim=1, keepdim=True)) + 1e-10)
        b = b / (torch.sqrt(torch.sum(b**2, dim=1, keepdim=True)) + 1e-10)
        total = total + F.conv2d((a - b) ** 2, head.reshape(1, -1, 1, 1)).mean([2, 3])[:, 0]
    return total


def vgg_by_hand(x: torch.Tensor, state: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """torchvision's layer list: convolution, ReLU, ..., max pooling; LPIPS reads before each pooling and at the end."""
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    x = (x - shift[:, None, None]) / scale[:, None, None]
    read = []
    for number in range(30):
        if number in (4, 9, 16, 23):
            x = F.max_pool2d(x, 2, 2)
        elif number in VGG16_CONVS:
            x = F.conv2d(x, state[f"features.{number}.weight"], state[f"features.{number}.bias"], padding=1)
        else:
            x = F.relu(x)
        if number in (3, 8, 15, 22, 29):
            read.append(x)
    return read


def squeeze_by_hand(x: torch.Tensor, net: SqueezeNet11) -> list[torch.Tensor]:
    state = dict(net.named_parameters())

    def conv(name: str, x: torch.Tensor, **how: int) -> torch.Tensor:
        return F.relu(F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], **how))

    levels = (x + 1) / 2 * 255
    red, green, blue = levels.unbind(1)
    x = conv("conv1", torch.stack([blue - 104, green - 117, red - 123], dim=1), stride=2)
    read = [x]
    for fire in range(2, 10):
        if fire in (2, 4, 6):
            x = F.max_pool2d(x, 3, 2, ceil_mode=True)
        s = conv(f"fire{fire}.squeeze", x)
        x = torch.cat([conv(f"fire{fire}.expand1", s), conv(f"fire{fire}.expand3", s, padding=1)], 1)
        if fire not in (2, 4):
            read.append(x)
    return read


def test_vgg_is_lpips(tmp_path, random_vgg):
    state, heads = random_vgg
    torch.save(state, tmp_path / "vgg16.pth")
    torch.save(heads, tmp_path / "vgg.pth")
    config = VGG16Distance(weights=str(tmp_path / "vgg16.pth"), heads=str(tmp_path / "vgg.pth"))
    a, b = images(1, 2, 3, 32, 48), images(2, 2, 3, 32, 48)
    wanted = lpips(vgg_by_hand(a, state), vgg_by_hand(b, state), list(heads.values()))
    torch.testing.assert_close(config.build()(a, b), wanted, rtol=1e-5, atol=1e-7)


def test_squeezenet_is_of_the_form_of_lpips():
    torch.manual_seed(0)
    random = Perceptual(SqueezeNet11())
    for head in random.weights():
        head.uniform_()
    a, b = images(1, 2, 3, 64, 48), images(2, 2, 3, 64, 48)
    wanted = lpips(squeeze_by_hand(a, random.backbone), squeeze_by_hand(b, random.backbone), random.weights())
    torch.testing.assert_close(random(a, b), wanted, rtol=1e-5, atol=1e-7)


def test_a_whole_lpips_file_gives_both(tmp_path, random_vgg):
    state, heads = random_vgg
    whole = {f"net.slice1.{name.removeprefix('features.')}": tensor for name, tensor in state.items()} | heads
    whole |= {name.replace("lin", "lins.", 1): tensor.clone() for name, tensor in heads.items()}
    save_file(whole, tmp_path / "lpips.safetensors")
    save_file(state | heads, tmp_path / "plain.safetensors")
    a, b = images(1, 1, 3, 16, 16), images(2, 1, 3, 16, 16)
    first, second = (
        VGG16Distance(weights=str(tmp_path / name)).build()
        for name in ("lpips.safetensors", "plain.safetensors")
    )
    assert torch.equal(first(a, b), second(a, b))


def test_what_a_file_lacks_is_said(tmp_path, random_vgg):
    state, heads = random_vgg
    save_file(state, tmp_path / "vgg.safetensors")
    with pytest.raises(ValueError, match=r"has no 'lin0\.model\.1\.weight'"):
        VGG16Distance(weights=str(tmp_path / "vgg.safetensors")).build()
    save_file({**state, **heads, "features.0.bias": torch.zeros(5)}, tmp_path / "vgg.safetensors")
    with pytest.raises(ValueError, match="not of VGG16"):
        VGG16Distance(weights=str(tmp_path / "vgg.safetensors")).build()
    with pytest.raises(ValueError, match="there is no file"):
        VGG16Distance(weights=str(tmp_path / "nowhere.pth")).build()


def test_more_noise_is_further_and_blur_is_seen(embedded):
    clean = F.interpolate(images(0, 4, 3, 8, 8), size=64, mode="bicubic").clamp(-1, 1)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    near, far = (embedded.distance(clean, (clean + s * noise).clamp(-1, 1)).mean() for s in (0.05, 0.3))
    assert embedded.distance(clean, clean).abs().max() == 0
    assert 0.005 < near < 0.5 * far
    assert embedded.distance(clean, clean.roll(1, 0)).mean() > far / 2
    little, much = (F.avg_pool2d(clean, side, 1, side // 2, count_include_pad=False) for side in (5, 17))
    assert 0 < 3 * embedded.distance(clean, little).mean() < embedded.distance(clean, much).mean()
    torch.testing.assert_close(embedded.distance(clean, much), embedded.distance(much, clean))


def test_gray_is_three_equal_channels(embedded):
    a, b = images(1, 2, 1, 32, 32), images(2, 2, 1, 32, 32)
    assert torch.equal(embedded(a, b), embedded(a.repeat(1, 3, 1, 1), b.repeat(1, 3, 1, 1)))


def test_ranges_are_refused_where_one_measures(embedded):
    good, bad = images(1, 1, 3, 32, 32), (images(1, 1, 3, 32, 32) + 1) * 127.5
    for pair in ((good, bad), (bad, good)):
        with pytest.raises(ValueError, match=r"must lie in \[-1, 1\]"):
            embedded.distance(*pair)


@pytest.mark.parametrize("network", [SqueezeNet11, VGG16, AlexNet])
def test_the_smallest_image(network):
    distance = Perceptual(network())
    side = network.SMALLEST
    a, b = images(1, 1, 3, side, side), images(2, 1, 3, side, side)
    assert distance(a, b).isfinite().all()
    with pytest.raises(ValueError, match=f"{side} px at least"):
        distance(a[..., 1:], b[..., 1:])


def test_the_gradient_reaches_the_image_and_no_weight(embedded):
    decoded = images(2, 2, 3, 32, 32).requires_grad_()
    embedded(images(1, 2, 3, 32, 32), decoded).sum().backward()
    assert decoded.grad is not None
    assert decoded.grad.isfinite().all()
    assert (decoded.grad.abs().sum(dim=(1, 2, 3)) > 0).all()
    assert not any(p.requires_grad for p in embedded.parameters())
    embedded.train()
    assert not any(module.training for module in embedded.modules())


def test_dead_features_have_no_gradient_but_a_finite_one():
    dead = torch.zeros(1, 4, 2, 2, requires_grad=True)
    unit(dead).square().sum().backward()
    assert dead.grad is not None
    assert dead.grad.isfinite().all()


def test_under_autocast_the_distance_stays_in_float32(embedded):
    a, b = images(1, 2, 3, 32, 32), images(2, 2, 3, 32, 32)
    exact = embedded(a, b)
    with torch.autocast("cpu", torch.bfloat16):
        rough = embedded(a, b)
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, exact, rtol=0.03, atol=0.0)


@pytest.mark.parametrize("network", [SqueezeNet11, VGG16, AlexNet])
def test_the_first_maps_are_those_of_all(network):
    torch.manual_seed(0)
    backbone, images = network().eval(), 2 * torch.rand(2, 3, 32, 32) - 1
    everything = backbone(images)
    assert len(everything) == len(network.WIDTHS)
    for count in range(1, len(everything) + 1):
        first = backbone(images, count)
        assert len(first) == count
        assert all(torch.equal(a, b) for a, b in zip(first, everything, strict=False))
