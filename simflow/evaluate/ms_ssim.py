"""Structural similarity at five scales (Wang, Simoncelli and Bovik 2003).

At each scale the contrast and structure ``cs`` of :mod:`~simflow.evaluate.reconstruction`'s SSIM are averaged over the
image and its channels, at the coarsest the whole SSIM; between scales images are halved by means of 2 x 2 pixels:

    MS-SSIM = prod_j cs_j^w_j  *  ssim_5^w_5,      w = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333).

A negative mean, which images of opposite structure have, counts as 0. The window of 11 pixels must fit the coarsest
scale: images of at least 176 px (161 px would do, but not every halving is then even).
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from simflow.evaluate.reconstruction import LEVELS, WINDOW, blur
from simflow.pixels import Bytes
from simflow.shapes import PerImage

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
SMALLEST = WINDOW * 2 ** (len(WEIGHTS) - 1)
"""Least side of an image, in pixels."""


def ms_ssim(originals: Bytes, reconstructions: Bytes) -> PerImage:
    """In [0, 1], float64; data range 255.

    Raises:
        ValueError: the images are too small.
    """
    if min(originals.shape[2:]) < SMALLEST:
        raise ValueError(f"MS-SSIM needs images of at least {SMALLEST} px, not {min(originals.shape[2:])}")
    x, y = originals.double(), reconstructions.double()
    product = torch.ones(len(x), dtype=torch.float64, device=x.device)
    for number, weight in enumerate(WEIGHTS):
        whole, structure = _means(x, y)
        last = number == len(WEIGHTS) - 1
        product = product * (whole if last else structure).clamp(min=0) ** weight
        x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
    return product


def _means(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Means over positions and channels of SSIM and of its contrast and structure."""
    mean_x, mean_y = blur(x), blur(y)
    variances = blur(x * x) - mean_x**2 + blur(y * y) - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * LEVELS) ** 2, (0.03 * LEVELS) ** 2
    structure = (2 * covariance + c2) / (variances + c2)
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return (luminance * structure).mean(dim=(1, 2, 3)), structure.mean(dim=(1, 2, 3))
