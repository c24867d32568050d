"""A second player who tells reconstructions from photographs: PatchGAN with the hinge loss.

The discriminator gives a logit to every patch of an image (Isola et al. 2017). It learns to say at least +1 of
images and at most -1 of reconstructions, and the autoencoder learns to raise what is said of its own::

    discriminator   1/2 mean relu(1 - D(image)) + 1/2 mean relu(1 + D(decoded))
    autoencoder     -mean D(decoded)

**Normalisation.** The published network has BatchNorm, which sees images and reconstructions apart or mixed
depending on how batches are cut, and differs between processes and between one batch and its parts. GroupNorm
belongs to one image: what is said of it depends on nothing else, so accumulation and several processes change
nothing. It is the default; ``"none"`` leaves it out.

**LeCam** (Tseng et al. 2021) holds the logits near the running means ``r`` and ``f`` of those that images and
reconstructions had, which steadies the game when data are few: ``mean relu(D(image) - f)^2 + mean relu(r -
D(decoded))^2``. The running means are buffers, saved with the network.

This file gives losses. Which of them moves which network is decided by :mod:`simflow.objective` (the
autoencoder's) and :mod:`simflow.train.step` (the discriminator's).
"""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from simflow.shapes import Images

MEMORY = 0.99
"""Share of the old running means of logits that a step keeps (LeCam's own value)."""


@dataclass(frozen=True, kw_only=True)
class AdversarialConfig:
    """The adversarial term and the network behind it."""

    weight: float = 0.1
    """Weight of the autoencoder's term in the loss."""
    start_step: int = 0
    """Step from which the autoencoder feels the discriminator. From scratch a late start is safer: 5 000 in
    VA-VAE, 50 000 in LDM."""
    head_start: int = 0
    """Steps by which the discriminator begins to learn before that."""
    filters: int = 64
    """Channels of the first layer; each further one doubles them, up to eight times."""
    layers: int = 3
    """Layers of stride 2; three see patches of 70 pixels."""
    norm: Literal["group", "none"] = "group"
    """GroupNorm after all convolutions but the first and the last, or none."""
    lecam: float | None = None
    """Weight of the LeCam regulariser (STARFlow: 1e-3), or none."""
    lr: float = 1e-4
    """Learning rate of the discriminator, multiplied by the same schedule as the model's."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Its AdamW's decay of the first and the second moment."""

    def __post_init__(self) -> None:
        if not 0 <= self.head_start <= self.start_step:
            raise ValueError(
                f"the discriminator cannot begin {self.head_start} steps before step {self.start_step}"
            )

    def build(self, *, image_channels: int, image_size: int) -> "Discriminator":
        """The discriminator, freshly initialised from torch's global generator.

        Raises:
            ValueError: the images are too small for so many layers.
        """
        smallest = 3 * 2**self.layers
        if image_size < smallest:
            raise ValueError(
                f"a discriminator of {self.layers} layers needs images of {smallest} px at least, not {image_size}"
            )
        return Discriminator(self, image_channels=image_channels)


class Verdict(NamedTuple):
    """What the discriminator learns from, and what it said on the average; scalars."""

    loss: Tensor
    real: Tensor
    """Mean logit of images."""
    fake: Tensor
    """Mean logit of reconstructions."""

    def named(self) -> dict[str, Tensor]:
        """The numbers by the names under which they are logged."""
        return {"discriminator": self.loss, "logit_real": self.real, "logit_fake": self.fake}


class Patches(nn.Sequential):
    """Images in [-1, 1] -> a logit for each of overlapping patches."""

    def __init__(self, config: AdversarialConfig, *, image_channels: int) -> None:
        widths = [config.filters * min(2**layer, 8) for layer in range(config.layers + 1)]
        parts: list[nn.Module] = [nn.Conv2d(image_channels, widths[0], 4, stride=2, padding=1)]
        for layer in range(1, config.layers + 1):
            stride = 2 if layer < config.layers else 1
            parts += [
                nn.LeakyReLU(0.2),
                nn.Conv2d(widths[layer - 1], widths[layer], 4, stride=stride, padding=1),
            ]
            if config.norm == "group":
                parts.append(nn.GroupNorm(math.gcd(widths[layer], 32), widths[layer]))
        super().__init__(*parts, nn.LeakyReLU(0.2), nn.Conv2d(widths[-1], 1, 4, padding=1))
        for part in self:
            if isinstance(part, nn.Conv2d):
                nn.init.normal_(part.weight, std=0.02)
                assert part.bias is not None
                nn.init.zeros_(part.bias)

    def forward(self, input: Images) -> Float[Tensor, "b 1 rows columns"]:
        return super().forward(input)


class Discriminator(nn.Module):
    """The patch network and what it remembers. Called, it gives what it learns from."""

    mean_real: Tensor
    mean_fake: Tensor

    def __init__(self, config: AdversarialConfig, *, image_channels: int) -> None:
        super().__init__()
        self.config = config
        self.patches = Patches(config, image_channels=image_channels)
        self.register_buffer("mean_real", torch.zeros(()))
        self.register_buffer("mean_fake", torch.zeros(()))

    def forward(self, images: Images, decoded: Images) -> Verdict:
        """The discriminator's own loss on images and their reconstructions, which must carry no gradient."""
        assert not decoded.requires_grad, "the discriminator must not teach the autoencoder"
        real, fake = self.patches(torch.cat([images, decoded.to(images.dtype)])).float().chunk(2)
        loss = 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())
        if self.config.lecam is not None:
            loss = loss + self.config.lecam * self.distance_from_memory(real, fake)
        return Verdict(loss, real.mean(), fake.mean())

    def distance_from_memory(self, real: Tensor, fake: Tensor) -> Tensor:
        """LeCam's regulariser of logits."""
        return F.relu(real - self.mean_fake).square().mean() + F.relu(self.mean_real - fake).square().mean()

    @torch.no_grad()
    def remember(self, real: Tensor, fake: Tensor) -> None:
        """Moves the running means towards the mean logits of a step, the same on all processes, unless broken."""
        whole = real.isfinite() & fake.isfinite()
        for memory, mean in ((self.mean_real, real), (self.mean_fake, fake)):
            memory.lerp_(torch.where(whole, mean, memory), 1 - MEMORY)
