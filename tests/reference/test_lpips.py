"""LPIPS and the pixel figures against the packages that people use, within 1e-4."""

import pytest
import torch

from simflow.evaluate.lpips import judge
from simflow.evaluate.ms_ssim import WEIGHTS, ms_ssim
from simflow.evaluate.reconstruction import psnr, ssim
from simflow.pixels import to_float


@pytest.fixture
def pairs():
    smooth = torch.nn.functional.interpolate(torch.rand(3, 3, 13, 13), (197, 181), mode="bicubic")
    clean = (smooth.clamp(0, 1) * 255).to(torch.uint8)
    noisy = (clean + 15 * torch.randn(clean.shape)).clamp(0, 255).to(torch.uint8)
    return clean, noisy


@pytest.mark.parametrize("kind", ["alex", "vgg"])
@pytest.mark.filterwarnings("ignore")
def test_lpips(pairs, tmp_path, kind):
    """The network's weights are random, the heads are the published ones."""
    lpips = pytest.importorskip("lpips", reason="the reference environment is not installed")
    theirs = lpips.LPIPS(net=kind, pnet_rand=True, verbose=False)
    file = tmp_path / "lpips.pth"
    torch.save(theirs.state_dict(), file)
    found = judge(kind, weights=file)
    clean, noisy = (to_float(images) for images in pairs)
    expected = theirs(clean, noisy).flatten()
    assert expected.min() > 1e-4
    torch.testing.assert_close(found.distance.distance(clean, noisy), expected, atol=1e-5, rtol=1e-4)


def test_pixel_figures(pairs):
    image = pytest.importorskip("torchmetrics.functional.image", reason="torchmetrics is not installed")
    clean, noisy = pairs
    x, y = clean.double(), noisy.double()
    options = {"data_range": 255.0, "reduction": "none"}
    torch.testing.assert_close(
        psnr(clean, noisy), image.peak_signal_noise_ratio(y, x, dim=(1, 2, 3), **options), atol=1e-4, rtol=0
    )
    _, full = image.structural_similarity_index_measure(y, x, return_full_image=True, **options)
    inside = full[..., 5:-5, 5:-5].mean(dim=(1, 2, 3))  # torchmetrics counts reflected borders as well
    torch.testing.assert_close(ssim(clean, noisy), inside, atol=1e-4, rtol=0)

    product = torch.ones(len(x), dtype=torch.float64)
    for number, weight in enumerate(WEIGHTS):
        _, full = image.structural_similarity_index_measure(y, x, return_full_image=True, **options)
        _, contrast = image.structural_similarity_index_measure(
            y, x, return_contrast_sensitivity=True, **options
        )
        whole = full[..., 5:-5, 5:-5].mean(dim=(1, 2, 3))
        product *= (whole if number == len(WEIGHTS) - 1 else contrast) ** weight
        x, y = (torch.nn.functional.avg_pool2d(z, 2) for z in (x, y))
    torch.testing.assert_close(ms_ssim(clean, noisy), product, atol=1e-4, rtol=0)
