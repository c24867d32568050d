"""DINOv2: the judge that agrees best with people (Stein et al. 2023).

The Fréchet distance on its features is called FD-DINOv2. As published it uses the ViT-L/14: the class token after the
last norm, of images at 224 px, normalised by ImageNet's mean and deviation. The network is that of the alignment
(:mod:`simflow.losses.vit`); its weights come from a file, a folder, or the Hugging Face hub when first used. Their name
and a hash of all tensors are part of the identity, so that the sizes of DINOv2 cannot be confused.
"""

from simflow.evaluate.extractors import Extractor, Identity, Missing, Seen
from simflow.evaluate.resize import ANTIALIASED, antialiased, colour
from simflow.hub import OutOfReach
from simflow.losses.vit import VisionTransformer, pretrained
from simflow.pixels import Bytes
from simflow.tensors import sha256_of_tensors

SIZE = 224
DEFAULT = "facebook/dinov2-large"


class DINOv2(Extractor):
    """The extractor of FD-DINOv2."""

    def __init__(self, network: VisionTransformer, *, weights: str) -> None:
        super().__init__()
        self.network = network
        self.identity = Identity(
            name="dinov2",
            suffix="DINOv2",
            network=f"{weights}, class token after the last norm",
            dimension=network.width,
            resize=ANTIALIASED,
            size=SIZE,
            scaling="(x / 255 - mean) / std of ImageNet",
            weights=weights,
            sha256=sha256_of_tensors(network.state_dict()),
        )
        self.eval()

    @classmethod
    def from_pretrained(cls, source: str | None) -> "DINOv2":
        """From a file, a folder that transformers saved, or a name on the hub; the published ViT-L/14 if None.

        Raises:
            Missing: the hub gave nothing.
            ValueError: there is no such file or folder, or it is not of a DINOv2.
        """
        name = source or DEFAULT
        try:
            network = pretrained(name)
        except OutOfReach as error:
            raise Missing(
                f"FD-DINOv2 needs the weights of DINOv2: {error}; name a file or a folder as dinov2=PATH"
            ) from error
        return cls(network, weights=name.rstrip("/").rpartition("/")[2])

    def see(self, images: Bytes) -> Seen:
        pixels = self.network.normalised(antialiased(colour(images), SIZE) / 255)
        return Seen(self.network.tokens(pixels)[:, 0].float())
