"""How close reconstructions are to their originals, pixel by pixel.

All figures are of 8-bit images, as they would be seen and stored: a float reconstruction goes through
:func:`simflow.pixels.to_uint8` first, so clamping and rounding count. Per image, over all pixels and channels:

- the mean squared error, on the scale [-1, 1] of the networks; a quarter of it on the scale [0, 1];
- ``PSNR = 10 log10(255^2 / MSE)`` in decibels with the MSE in grey levels; infinite for equal images;
- ``SSIM`` (Wang, Bovik, Sheikh and Simoncelli 2004, Eq. 13): with local means ``m``, variances ``v`` and
  covariance ``s`` under a Gaussian window of 11 x 11 pixels and standard deviation 1.5,

      (2 m_x m_y + C1) (2 s + C2) / ((m_x^2 + m_y^2 + C1) (v_x + v_y + C2)),

  ``C1 = (0.01 * 255)^2`` and ``C2 = (0.03 * 255)^2``, averaged over the positions where the window lies
  wholly inside and over the channels. 1 for equal images, lower otherwise.
"""

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from simflow.pixels import Bytes
from simflow.shapes import PerImage

LEVELS = 255
"""Data range of an 8-bit image: the difference of white and black."""

WINDOW, SIGMA = 11, 1.5
"""Side and standard deviation of the Gaussian window of SSIM, in pixels."""


@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """Means over images."""

    mse: float
    """On [-1, 1]."""
    psnr: float
    """In decibels; infinite if an image is reconstructed exactly."""
    ssim: float | None
    """None for images smaller than the window."""


def compare(originals: Bytes, reconstructions: Bytes, *, batch: int = 256) -> Reconstruction:
    """All the figures; ``batch`` images at a time are held in float64.

    Raises:
        ValueError: there are no images.
    """
    if len(originals) == 0:
        raise ValueError("reconstruction figures need at least one image")
    parts = list(zip(originals.split(batch), reconstructions.split(batch), strict=True))
    mse = torch.cat([squared_error(*part) for part in parts]).mean().item()
    small = min(originals.shape[2:]) < WINDOW
    return Reconstruction(
        mse=mse,
        psnr=torch.cat([psnr(*part) for part in parts]).mean().item(),
        ssim=None if small else torch.cat([ssim(*part) for part in parts]).mean().item(),
    )


def squared_error(originals: Bytes, reconstructions: Bytes) -> PerImage:
    """Mean squared error of each image on the scale [-1, 1], float64; divide by 4 for the scale [0, 1]."""
    difference = originals.double() - reconstructions.double()
    return difference.square().mean(dim=(1, 2, 3)) / (LEVELS / 2) ** 2


def psnr(originals: Bytes, reconstructions: Bytes) -> PerImage:
    """Peak signal-to-noise ratio of each image in decibels, float64; data range 255."""
    return -10 * torch.log10(squared_error(originals, reconstructions) / 4)


def ssim(originals: Bytes, reconstructions: Bytes) -> PerImage:
    """Structural similarity of each image, in [-1, 1], float64; data range 255, the mean over channels.

    Raises:
        ValueError: the images are smaller than the window.
    """
    height, width = originals.shape[-2:]
    if min(height, width) < WINDOW:
        raise ValueError(f"SSIM needs images of at least {WINDOW} x {WINDOW} pixels, not {height} x {width}")
    luminance, structure = similarity(originals.double(), reconstructions.double())
    return (luminance * structure).mean(dim=(1, 2, 3))


def similarity(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """SSIM's two factors at every position of the window, ``(b, c, h - 10, w - 10)``: that of the means (luminance) and
    that of variances and covariance (contrast and structure)."""
    mean_x, mean_y = blur(x), blur(y)
    variances = blur(x * x) - mean_x**2 + blur(y * y) - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * LEVELS) ** 2, (0.03 * LEVELS) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return luminance, (2 * covariance + c2) / (variances + c2)


def blur(images: Tensor) -> Tensor:
    """Means under the window at all positions wholly inside: rows, then columns."""
    offset = torch.arange(WINDOW, dtype=images.dtype, device=images.device) - WINDOW // 2
    weights = torch.exp(-0.5 * (offset / SIGMA) ** 2)
    weights = weights / weights.sum()
    planes = rearrange(images, "b c h w -> (b c) 1 h w")
    rows = F.conv2d(planes, rearrange(weights, "k -> 1 1 1 k"))
    both = F.conv2d(rows, rearrange(weights, "k -> 1 1 k 1"))
    return rearrange(both, "(b c) 1 h w -> b c h w", c=images.shape[1])
