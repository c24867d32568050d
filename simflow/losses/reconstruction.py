"""The reconstruction's term, of pixels: two of them, with a weight to choose and without.

- :class:`PixelMean`, the paper's: the mean absolute or squared error. Alone, at 1:1, it is too weak to keep the
  latents from collapsing; the paper's balance rests on perceptual and adversarial losses besides.
- :class:`Calibrated`: a Gaussian decoder whose variance is at its maximum-likelihood value, the mean squared error
  itself (sigma-VAE; Rybkin et al. 2021): ``-log p(image|x) = P/2 log(MSE) + const`` for ``P`` pixel values,
  divided by the ``D`` numbers of the latent as the flow's term is. This is the ELBO with no weight to choose.

An image shows no more than white and no less than black, and a decoder may be told so (:func:`censored`).
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from simflow.bounds import not_negative
from simflow.shapes import Images


def censored(decoded: Images, images: Images) -> Images:
    """``decoded`` as it is shown where the image is at an end of the range: what lies beyond that end is at it.

    So a decoder is not pulled back from whiter than white, and need not come to rest at the mean of its errors a little
    below it: a plain background becomes plain. This is the mean of a censored likelihood (Tobin 1958) where it counts;
    pixels within the range keep their gradient whatever was decoded.

    >>> images, decoded = torch.tensor([1.0, 1.0, 0.5, -1.0]), torch.tensor([1.2, 0.9, 1.2, -1.5])
    >>> censored(decoded.view(1, 1, 2, 2), images.view(1, 1, 2, 2)).flatten()
    tensor([ 1.0000,  0.9000,  1.2000, -1.0000])
    """
    beyond = ((images >= 1) & (decoded > 1)) | ((images <= -1) & (decoded < -1))
    return torch.where(beyond, images.to(decoded.dtype), decoded)


@dataclass(frozen=True, kw_only=True)
class PixelMean:
    """Mean error a pixel value, on images in [-1, 1] (the paper's reconstruction term)."""

    norm: Literal["l1", "l2"] = "l2"
    """Absolute or squared error."""
    weight: float = 1.0
    """Weight against the flow's term; the paper keeps 1."""

    def __post_init__(self) -> None:
        not_negative(self, "objective.reconstruction", "weight")

    def loss(self, images: Images, decoded: Images, *, latent_numbers: int) -> Tensor:
        """Scalar; ``latent_numbers`` is not used."""
        error = decoded.float() - images
        return self.weight * (error.abs() if self.norm == "l1" else error.square()).mean()


@dataclass(frozen=True, kw_only=True)
class Calibrated:
    """Negative log likelihood of a Gaussian decoder at its best variance, a latent number.

    The variance is that of the images at hand: a microbatch of one process. Small ones weigh their images more evenly;
    in pieces of 32 images the gradient differs by 1 % from that of the whole batch, in pieces of 8 by 4 %.
    """

    weight: float = 1.0
    """1 is the ELBO; other values trade reconstruction against the prior (a beta-VAE's 1/beta)."""

    def __post_init__(self) -> None:
        not_negative(self, "objective.reconstruction", "weight")

    def loss(self, images: Images, decoded: Images, *, latent_numbers: int) -> Tensor:
        """``P / (2 D) * log(MSE)``, a scalar; the additive constant is left out as the flow's is."""
        mse = (decoded.float() - images).square().mean()
        return self.weight * images[0].numel() / (2 * latent_numbers) * torch.log(mse + 1e-8)
