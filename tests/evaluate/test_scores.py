"""Per-image likelihoods: the ELBO of the other file, at any batch; histograms and separation by hand."""

import pytest
import torch

from simflow.evaluate.collect import Held
from simflow.evaluate.fidelity import figures_of, per_image, reconstruct
from simflow.evaluate.likelihood import elbo_bits
from simflow.evaluate.lpips import judge
from simflow.evaluate.scores import auroc, drawn, histograms, score, training_error
from simflow.posterior import Dequantised, FixedVariance, NoNoise
from tests.evaluate.test_likelihood import images, pixel_model


def held(count, seed=0):
    return Held(pixels=images(count, seed), labels=torch.arange(count) % 2, class_names=("a", "b"))


@pytest.mark.parametrize("posterior", [FixedVariance(std=0.1), Dequantised()], ids=lambda p: type(p).__name__)
def test_it_is_the_elbo_at_any_batch(posterior):
    model, seen, unseen = pixel_model(posterior), held(80), held(60, seed=1)
    everything = torch.arange(80)
    variance = None if isinstance(posterior, Dequantised) else training_error(model, seen, everything, seed=0)
    numbers = torch.arange(60)
    one, other = (
        score(model, unseen, numbers, unseen.labels, variance=variance, seed=0, batch=batch)
        for batch in (7, 60)
    )
    torch.testing.assert_close(one.bits, other.bits, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(one.bits, one.reconstruction + one.prior + one.entropy, rtol=1e-6, atol=1e-6)
    expected = elbo_bits(model, seen.pixels, unseen.pixels, unseen.labels)
    assert one.summary()["bits_per_dimension"] == pytest.approx(expected.bits_per_dimension, abs=0.02)
    assert one.summary()["standard_error"] == pytest.approx(expected.standard_error, rel=0.3)
    some = score(model, unseen, numbers[5:9], unseen.labels[5:9], variance=variance, seed=0)
    torch.testing.assert_close(some.bits, one.bits[5:9], rtol=1e-6, atol=1e-6)
    if variance is not None:
        assert variance == pytest.approx(0.01, rel=0.05)


def test_no_noise_has_no_bound():
    with pytest.raises(ValueError, match="without noise on the latents"):
        score(pixel_model(NoNoise()), held(3), torch.arange(3), held(3).labels, variance=1.0, seed=0)


def test_draws_belong_to_images():
    model, code = pixel_model(FixedVariance(std=1.0)), torch.zeros(4, 1, 16, 16)
    all_four, last = drawn(model, code, [3, 5, 8, 9], seed=0), drawn(model, code[:1], [9], seed=0)
    assert torch.equal(all_four[3:], last)
    assert not torch.equal(all_four[3:], drawn(model, code[:1], [9], seed=1))


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
