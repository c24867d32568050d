"""A feature network that costs nothing: means over large squares of pixels."""

import torch

from simflow.evaluate.extractors import Extractor, Identity, Seen
from simflow.evaluate.features import pooled_pixels


class Squares(Extractor):
    """Means over four squares; remembers how many images it was shown."""

    def __init__(self, suffix: str = "Squares", *, sha256: str = "0") -> None:
        super().__init__()
        self.shown = 0
        self.identity = Identity(
            name="squares",
            suffix=suffix,
            network="means over squares",
            dimension=4,
            resize="none",
            size=8,
            scaling="[-1, 1]",
            weights="none",
            sha256=sha256,
        )
        self.eval()

    def see(self, images: torch.Tensor) -> Seen:
        self.shown += len(images)
        return Seen(pooled_pixels(images[:, :1], pool=images.shape[-1] // 2))
