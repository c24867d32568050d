"""Structural similarity at five scales (Wang, Simoncelli and Bovik 2003).

At each scale the contrast and structure ``cs`` of :mod:`~simflow.evaluate.reconstruction`'s SSIM are averaged over the
image and its channels, at the coarsest the whole SSIM; between scales images are halved by means of 2 x 2 pixels:

    MS-SSIM = prod_j cs_j^w_j  *  ssim_5^w_5,      w = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333).

A negative mean, which images of opposite structure have, counts as 0. The window of 11 pixels must fit the coarsest
scale: images of at least 176 px (161 px would do, but not every halving is then even).
"""

import torch
from torch.nn import functional as F

from simflow.evaluate.reconstruction import WINDOW, similarity
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
        luminance, structure = similarity(x, y)
        last = number == len(WEIGHTS) - 1
        mean = (luminance * structure if last else structure).mean(dim=(1, 2, 3))
        product = product * mean.clamp(min=0) ** weight
        x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
    return product
