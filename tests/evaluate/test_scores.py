"""Likelihoods in closed form, where flow and autoencoder are the identity; histograms and separation by hand."""

import math
from contextlib import nullcontext
from dataclasses import fields

import pytest
import torch

from simflow.autoencoder.pixels import PixelsConfig
from simflow.evaluate import scores
from simflow.evaluate.collect import Held
from simflow.evaluate.desk import Desk
from simflow.evaluate.fidelity import figures_of, per_image, reconstruct
from simflow.evaluate.lpips import judge
from simflow.evaluate.scores import auroc, histograms, no_bound, score, training_error
from simflow.evaluate.unseen import likelihood
from simflow.flow.block import BlockConfig
from simflow.flow.stack import FlowConfig
from simflow.model import Facts, ModelConfig
from simflow.pixels import to_float
from simflow.posterior import Dequantised, FixedVariance, NoNoise
from simflow.shapes import NULL
from simflow.sit.prior import SiTConfig

NAMES = ("a", "b")


def pixel_model(posterior, prior=None):
    torch.manual_seed(0)
    prior = prior or FlowConfig(depths=(1,), patch=4, block=BlockConfig(width=8, heads=1))
    config = ModelConfig(autoencoder=PixelsConfig(), posterior=posterior, prior=prior)
    return config.build(Facts(image_size=16, channels=1, class_names=NAMES)).eval()


def images(count, seed=0):
    """Images of different brightness, so that some are dearer than others."""
    draws = torch.Generator().manual_seed(seed)
    low = torch.randint(200, (count, 1, 1, 1), generator=draws)
    return (low + torch.randint(56, (count, 1, 16, 16), generator=draws)).to(torch.uint8)


def held(count, seed=0):
    return Held(pixels=images(count, seed), labels=torch.arange(count) % 2, class_names=NAMES)


def middling(count, seed=0):
    """Images like them, of less contrast: no pixel is darker than -0.5 or brighter than 0.5."""
    return Held(pixels=64 + images(count, seed) // 2, labels=torch.arange(count) % 2, class_names=NAMES)


def plain(count, level):
    """Images of one grey level."""
    pixels = torch.full((count, 1, 16, 16), level, dtype=torch.uint8)
    return Held(pixels=pixels, labels=torch.zeros(count).long())


def bounded(model, seen, unseen, *, seed=0, batch=100, on_progress=lambda seen: None):
    """Scores of all held-out images, and the variance."""
    desk = Desk(
        device=torch.device("cpu"),
        counting=lambda what, of: nullcontext(on_progress),
        model_batch=batch,
        seed=seed,
    )
    record, found = likelihood(model, seen, unseen, torch.arange(len(unseen)), {}, desk)
    return found["held out"], record["decoder_variance"]


def standard_normal_bits(unseen, variance):
    """Bits of ``log N(x; 0, 1)`` expected for ``x`` of mean ``unseen`` and this variance, image by image."""
    square = to_float(unseen).square().mean(dim=(1, 2, 3)) + variance
    return (0.5 * math.log(2 * math.pi) + 0.5 * square) / math.log(2)


def test_the_elbo_of_noisy_pixels_is_the_density_of_the_prior():
    """Decoder term and entropy cancel where the decoder's variance is that of the noise; no image is near an end of
    the range here."""
    unseen = middling(60)
    found, variance = bounded(pixel_model(FixedVariance(std=0.1)), middling(80, seed=1), unseen)
    assert variance == pytest.approx(0.01, rel=0.03)
    expected = standard_normal_bits(unseen.pixels, 0.01) - math.log2(2 / 255)
    figures = found.summary()
    assert figures["bits_per_dimension"] == pytest.approx(expected.mean().item(), abs=0.02)
    draw = (1 + 0.01) * math.sqrt(2 / 256) / 2 / math.log(2)  # half a mean of 256 squared normal numbers
    spread = math.hypot(expected.std().item(), draw)
    assert figures["standard_error"] == pytest.approx(spread / math.sqrt(60), rel=0.15)
    noise = 0.5 * math.log2(2 * math.pi * math.e * 0.01)
    torch.testing.assert_close(found.entropy, torch.full((60,), -noise).double(), rtol=1e-6, atol=1e-6)
    assert figures["reconstruction"] == pytest.approx(noise - math.log2(2 / 255), abs=0.02)


def test_what_is_decoded_counts_as_it_is_shown():
    """White decoded whiter than white is white: the error is what is left of it within the range."""
    model = pixel_model(FixedVariance(std=0.01))
    errors = []
    for beyond in (1.2, 7.0):
        model.decode = lambda latents, beyond=beyond: torch.full_like(latents, beyond)
        errors.append(training_error(model, plain(4, 204), seed=0))
        found = score(model, plain(4, 204), torch.arange(4), torch.zeros(4).long(), variance=0.16, seed=0)
        wanted = 0.5 * math.log2(2 * math.pi * math.e * 0.16) - math.log2(2 / 255)
        torch.testing.assert_close(found.reconstruction, torch.full((4,), wanted).double(), rtol=0, atol=1e-5)
    assert errors == pytest.approx([0.16, 0.16])


def test_a_level_of_a_decoded_image_is_a_255th_of_the_range():
    """Levels are 0 to 255 with both ends shown; beside so wide a decoder errors are nothing."""
    numbers, labels = torch.arange(6), torch.zeros(6).long()
    model = pixel_model(FixedVariance(std=0.3))
    found = score(model, held(6), numbers, labels, variance=1e6, seed=0)
    wanted = torch.full((6,), 0.5 * math.log2(2 * math.pi * 1e6) - math.log2(2 / 255))
    torch.testing.assert_close(found.reconstruction, wanted.double(), rtol=0, atol=1e-5)


def test_dequantised_pixels_need_no_decoder():
    unseen = held(60)
    found, variance = bounded(pixel_model(Dequantised()), held(1), unseen)
    expected = standard_normal_bits(unseen.pixels, 0) - math.log2(2 / 256)
    assert variance is None
    assert found.summary()["bits_per_dimension"] == pytest.approx(expected.mean().item(), abs=0.01)
    assert found.reconstruction.tolist() == [0] * 60


def test_only_training_images_set_the_variance_and_only_held_out_ones_are_coded():
    model = pixel_model(FixedVariance(std=0.1))
    (one, first), (other, second) = (bounded(model, plain(60, level), held(60)) for level in (90, 160))
    assert first == pytest.approx(second, abs=1e-6)
    torch.testing.assert_close(one.bits, other.bits, rtol=0, atol=1e-5)


def test_a_variance_from_other_images_is_used_as_it_is():
    """Half of ``error / v + log v`` nats per pixel, where ``v`` is the training error and not the held-out one."""
    model = pixel_model(FixedVariance(std=0.05))
    model.decode = lambda latents: latents + 0.5 * (latents < -0.5)
    dark, bright = plain(200, 20), plain(60, 200)
    v = training_error(model, dark, seed=0)
    assert v > 0.2
    (other, of_dark), (honest, of_bright) = (bounded(model, train, bright) for train in (dark, bright))
    assert of_dark == v
    assert of_bright == pytest.approx(0.0025, rel=0.05)
    cost = 0.5 * (0.0025 / v - 1 + math.log(v / 0.0025)) / math.log(2)
    assert (other.bits - honest.bits).mean().item() == pytest.approx(cost, abs=0.02)


def test_it_is_deterministic_and_a_matter_of_the_seed():
    model = pixel_model(FixedVariance(std=0.3))
    (first, v), (again, w), (other, u) = (bounded(model, held(9), held(9), seed=s) for s in (0, 0, 1))
    assert torch.equal(first.bits, again.bits)
    assert not (first.bits == other.bits).any()
    assert v == w != u


@pytest.mark.parametrize("posterior", [FixedVariance(std=0.1), Dequantised()], ids=lambda p: type(p).__name__)
def test_batches_change_nothing_but_rounding(posterior):
    model, seen, unseen = pixel_model(posterior), held(80), held(60, seed=1)
    done = []
    (one, v), (other, w) = (
        bounded(model, seen, unseen, batch=batch, on_progress=done.append) for batch in (7, 60)
    )
    assert done == [7] * 8 + [4, 60]
    assert (v is None and w is None) or v == pytest.approx(w, rel=1e-6)
    for part in fields(one):
        torch.testing.assert_close(
            getattr(one, part.name), getattr(other, part.name), rtol=1e-6, atol=1e-6, msg=part.name
        )
    torch.testing.assert_close(one.bits, one.reconstruction + one.prior + one.entropy, rtol=1e-6, atol=1e-6)
    numbers = torch.arange(5, 9)
    some = score(model, unseen, numbers, unseen.labels[numbers], variance=v, seed=0)
    torch.testing.assert_close(some.bits, one.bits[numbers], rtol=1e-6, atol=1e-6)


def test_a_limit_takes_training_images_evenly(monkeypatch):
    """All of the error is in the bright half of the images, wherever the limit lies."""
    model = pixel_model(FixedVariance(std=0.01))
    model.decode = lambda latents: latents - 1.0 * (latents > 0)
    both = torch.cat([plain(40, 20).pixels, plain(40, 200).pixels])
    seen = Held(pixels=both, labels=torch.zeros(80).long())
    for limit in (10, 80):
        monkeypatch.setattr(scores, "TRAIN_IMAGES", limit)
        assert training_error(model, seen, seed=0) == pytest.approx(0.5, abs=0.01)


def test_classes_count_where_the_model_knows_them():
    model, unseen = pixel_model(FixedVariance(std=0.3)), held(6)
    given = []

    def log_prob(latents, labels):
        given.append(labels.tolist())
        return latents.sum(dim=(1, 2, 3))

    model.prior.log_prob = log_prob
    for names in (NAMES, ("b", "a")):
        bounded(model, unseen, Held(pixels=unseen.pixels, labels=unseen.labels, class_names=names))
    assert given == [[0, 1, 0, 1, 0, 1], [NULL] * 6]


@pytest.mark.parametrize(
    ("posterior", "sentence"),
    [
        (NoNoise(), "without noise on the latents the ELBO is no bound"),
        (FixedVariance(std=1e-30), "reconstructed exactly, so the decoder has no variance"),
    ],
)
def test_what_has_no_bound_is_a_sentence(posterior, sentence):
    with pytest.raises(ValueError, match=sentence):
        bounded(pixel_model(posterior), held(5), held(5))


def test_one_image_has_no_standard_error():
    found, _ = bounded(pixel_model(FixedVariance()), held(5), held(1))
    assert found.summary()["standard_error"] is found.summary()["std_over_images"] is None


def test_why_there_is_no_bound():
    assert no_bound(pixel_model(FixedVariance())) is no_bound(pixel_model(Dequantised())) is None
    sit = SiTConfig(patch=4, width=8, depth=1, heads=1)
    for model in (pixel_model(NoNoise()), pixel_model(FixedVariance(), sit)):
        with pytest.raises(ValueError, match=no_bound(model)):
            score(model, held(3), torch.arange(3), held(3).labels, variance=1.0, seed=0)
        with pytest.raises(ValueError, match=no_bound(model)):
            training_error(model, held(3), seed=0)


def test_histograms_count_everything_once():
    found = histograms({"a": torch.tensor([0.0, 1.0, 2.0]), "b": torch.tensor([4.0])}, bins=4)
    assert found == {"edges": [0, 1, 2, 3, 4], "counts": {"a": [1, 1, 1, 0], "b": [0, 0, 0, 1]}}
    assert sum(histograms({"a": torch.ones(5)}, bins=3)["counts"]["a"]) == 5


def test_auroc():
    known = torch.randn(1000)
    assert auroc(known, known) == pytest.approx(0.5)
    assert auroc(known, known + 100) == 1
    assert auroc(known, known - 100) == 0
    assert auroc(known, torch.randn(1000) + 1) == pytest.approx(0.76, abs=0.03)


def test_reconstructions_do_not_depend_on_the_batch():
    model = pixel_model(FixedVariance(std=0.2))
    pictures, numbers = held(20), torch.tensor([1, 4, 7, 12, 19])
    one, other = (reconstruct(model, pictures, numbers, seed=0, batch=batch) for batch in (2, 5))
    assert torch.equal(one.pixels, other.pixels)
    assert not torch.equal(one.pixels, pictures.pixels[numbers])


def test_per_image_figures():
    generator = torch.Generator().manual_seed(0)
    clean = torch.nn.functional.interpolate(
        torch.rand(3, 3, 24, 24, generator=generator), 192, mode="bicubic"
    )
    clean = (clean.clamp(0, 1) * 255).to(torch.uint8)
    noise = 20 * torch.randn(clean.shape, generator=generator)
    noisy = (clean + noise).clamp(0, 255).to(torch.uint8)
    labels = torch.zeros(3, dtype=torch.int64)
    near, far = (Held(pixels=p, labels=labels) for p in (clean, noisy))
    table = per_image(near, far, judge("squeezenet"), batch=2)
    assert list(table) == ["MSE", "PSNR", "SSIM", "MS-SSIM", "LPIPS-style (SqueezeNet)"]
    equal = per_image(near, near, judge("squeezenet"))
    assert equal["MS-SSIM"].tolist() == pytest.approx([1, 1, 1])
    assert (table["MS-SSIM"] < 0.99).all()
    assert (table["MS-SSIM"] > table["SSIM"]).all()
    assert (table["LPIPS-style (SqueezeNet)"] > 0.05).all()
    assert [figure.better for figure in figures_of(table)] == ["lower", "higher", "higher", "higher", "lower"]
    small = Held(pixels=clean[..., :12, :12], labels=labels)
    assert list(per_image(small, small, judge("squeezenet"))) == ["MSE", "PSNR", "SSIM"]
    with pytest.raises(ValueError, match="cannot be compared with"):
        per_image(near, small, None)


def test_lpips_needs_files_for_the_large_networks():
    assert judge("none") is None
    with pytest.raises(ValueError, match="LPIPS by alex needs its weights"):
        judge("alex")
