"""DINOv2: the judge that agrees best with people (Stein et al. 2023), loaded through transformers.

The Fréchet distance on its features is called FD-DINOv2. As published it uses the ViT-L/14: the class token after the
last norm, of images at 224 px, normalised by ImageNet's mean and deviation. The weights come from a folder, or from
the Hugging Face hub when first used; ``transformers`` is imported only then. The name and a hash of all tensors are
part of the identity, so that the sizes of DINOv2 cannot be confused.
"""

from pathlib import Path
from typing import Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from simflow.evaluate.extractors import Extractor, Identity, Missing, Seen, sha256_of_tensors
from simflow.evaluate.resize import ANTIALIASED, antialiased, colour
from simflow.pixels import Bytes

SIZE = 224
DEFAULT = "facebook/dinov2-large"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet, for pixels in [0, 1]."""


@runtime_checkable
class Output(Protocol):
    """What a vision transformer of transformers returns."""

    last_hidden_state: Tensor
    """``(b, 1 + patches, d)``, the class token first, after the last norm."""


class DINOv2(Extractor):
    """The extractor of FD-DINOv2, around a network that takes ``pixel_values``."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, *, dimension: int, weights: str) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(STD)[:, None, None], persistent=False)
        self.identity = Identity(
            name="dinov2",
            suffix="DINOv2",
            network=f"{weights}, class token after the last norm",
            dimension=dimension,
            resize=ANTIALIASED,
            size=SIZE,
            scaling="(x / 255 - mean) / std of ImageNet",
            weights=weights,
            sha256=sha256_of_tensors(network.state_dict()),
        )
        self.eval().requires_grad_(requires_grad=False)

    @classmethod
    def from_pretrained(cls, source: str | None) -> "DINOv2":
        """From a folder or a name on the hub; the published ViT-L/14 if None.

        Raises:
            Missing: transformers is not installed, or the hub gave nothing.
            ValueError: there is no such folder.
        """
        name = source or DEFAULT
        if not Path(name).is_dir() and name.count("/") != 1:
            raise ValueError(f"there is no folder {name} with the weights of DINOv2")
        try:
            from transformers import Dinov2Model  # pyright: ignore[reportMissingImports]
        except ModuleNotFoundError as error:
            raise Missing(
                f"FD-DINOv2 needs transformers: pip install 'transformers>=5,<6' ({error})"
            ) from error
        try:
            network = Dinov2Model.from_pretrained(name)
        except OSError as error:
            raise Missing(
                f"FD-DINOv2 needs the weights of DINOv2, and '{name}' is neither a folder with them nor to be had "
                "from the hub: name a folder as dinov2=FOLDER"
            ) from error
        return cls(network, dimension=network.config.hidden_size, weights=name.rstrip("/").rpartition("/")[2])

    def see(self, images: Bytes) -> Seen:
        pixels = (antialiased(colour(images), SIZE) / 255 - self.mean) / self.std
        return Seen(cast(Output, self.network(pixel_values=pixels)).last_hidden_state[:, 0].float())
