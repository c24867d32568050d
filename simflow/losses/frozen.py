"""Networks that judge and never learn: no parameter requires a gradient, and dropout and batch statistics rest.

Gradients pass *through* a frozen network to the images that it sees; only its own weights stand still. It takes
no part in checkpoints, averages or optimisers.
"""

from typing import TypeVar

from jaxtyping import Float
from torch import Tensor, nn

from simflow.shapes import Images

Network = TypeVar("Network", bound="Frozen")


class Frozen(nn.Module):
    """Always in evaluation mode. Call :meth:`freeze` once the weights are there."""

    def freeze(self) -> None:
        """Stops all parameters from requiring gradients."""
        self.requires_grad_(requires_grad=False)
        self.train()

    def train(self: Network, mode: bool = True) -> Network:  # noqa: FBT001, FBT002 (the signature is torch's)
        """Evaluation mode, whatever is asked for."""
        return super().train(mode=False)


def as_colour(images: Images) -> Float[Tensor, "b 3 height width"]:
    """Gray images as three equal channels; colour images as they are."""
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
