"""A second player who tells reconstructions from photographs: the hinge loss, and what pleases the judge.

A discriminator (:mod:`simflow.losses.discriminators`) gives logits to the patches of an image. It learns to say at
least +1 of images and at most -1 of reconstructions, and the autoencoder learns to raise what is said of its own::

    discriminator   1/2 mean relu(1 - D(image)) + 1/2 mean relu(1 + D(decoded))
    autoencoder     -mean D(decoded)

**Its weight.** A fixed weight suits one network at one time of its training: a judge that sees well gives gradients
thirty times those of the reconstruction, one that does not yet a hundredth of them. With ``relative``, the term's
gradient at each reconstruction is given ``weight`` times the length of that of all other terms on images there. That
is the adaptive weight of VQGAN (Esser et al. 2021, Eq. 7), taken at the image instead of at the decoder's last layer,
and image by image, so that how a batch is cut changes nothing.

**LeCam** (Tseng et al. 2021) holds the logits near the running means ``r`` and ``f`` of those that images and
reconstructions had, which steadies the game when data are few: ``mean relu(D(image) - f)^2 + mean relu(r -
D(decoded))^2``. The running means are buffers, saved with the network.

This file gives losses. Which of them moves which network is decided by :mod:`simflow.objective` (the
autoencoder's) and :mod:`simflow.train.step` (the discriminator's).
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from simflow.bounds import not_negative, share
from simflow.losses.discriminators import FeatureNetwork, Logits, PatchNetwork
from simflow.shapes import Images

MEMORY = 0.99
"""Share of the old running means of logits that a step keeps (LeCam's own value)."""


@dataclass(frozen=True, kw_only=True)
class AdversarialConfig:
    """The adversarial term and the network behind it."""

    network: PatchNetwork | FeatureNetwork = field(default_factory=PatchNetwork)
    """Who judges."""
    weight: float = 0.1
    """Weight of the autoencoder's term in the loss; or, if ``relative``, of its gradient."""
    relative: bool = False
    """Whether the weight is of the gradient at each reconstruction, against that of all other terms on images."""
    start_step: int = 0
    """Step from which the autoencoder feels the discriminator. From scratch a late start is safer: 5 000 in
    VA-VAE, 50 000 in LDM."""
    head_start: int = 0
    """Steps by which the discriminator begins to learn before that."""
    lecam: float | None = None
    """Weight of the LeCam regulariser (STARFlow: 1e-3), or none."""
    lr: float = 1e-4
    """Learning rate of the discriminator, multiplied by the same schedule as the model's."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Its AdamW's decay of the first and the second moment."""

    def __post_init__(self) -> None:
        not_negative(self, "objective.adversarial", "weight", "lecam", "lr")
        share(self, "objective.adversarial", "betas")
        if not 0 <= self.head_start <= self.start_step:
            raise ValueError(
                f"the discriminator cannot begin {self.head_start} steps before step {self.start_step}"
            )

    def build(self, *, image_channels: int, image_size: int) -> "Discriminator":
        """The discriminator, freshly initialised from torch's global generator.

        Raises:
            ValueError: the images are too small for the network.
        """
        network = self.network.build(image_channels=image_channels, image_size=image_size)
        return Discriminator(network, lecam=self.lecam)


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


class Discriminator(nn.Module):
    """The network and what it remembers. Called, it gives what it learns from."""

    mean_real: Tensor
    mean_fake: Tensor

    def __init__(self, network: nn.Module, *, lecam: float | None) -> None:
        super().__init__()
        self.network, self.lecam = network, lecam
        self.register_buffer("mean_real", torch.zeros(()))
        self.register_buffer("mean_fake", torch.zeros(()))

    def forward(self, images: Images, decoded: Images) -> Verdict:
        """The discriminator's own loss on images and their reconstructions, which must carry no gradient."""
        assert not decoded.requires_grad, "the discriminator must not teach the autoencoder"
        maps: Logits = self.network(torch.cat([images, decoded.to(images.dtype)]))
        pairs = [logits.float().chunk(2) for logits in maps]
        loss = mean([0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean()) for real, fake in pairs])
        if self.lecam is not None:
            loss = loss + self.lecam * mean([self.distance_from_memory(*pair) for pair in pairs])
        return Verdict(
            loss, mean([real.mean() for real, _ in pairs]), mean([fake.mean() for _, fake in pairs])
        )

    def displeasure(self, decoded: Images) -> Tensor:
        """Minus the mean logit of reconstructions, whose gradient reaches them and not the network."""
        standing = {name: parameter.detach() for name, parameter in self.network.named_parameters()}
        learning = self.network.training
        self.network.eval()  # a spectral norm goes on estimating while it learns, and only then
        maps = cast("Logits", functional_call(self.network, standing, decoded))
        self.network.train(learning)
        return -mean([logits.float().mean() for logits in maps])

    def distance_from_memory(self, real: Tensor, fake: Tensor) -> Tensor:
        """LeCam's regulariser of logits."""
        return F.relu(real - self.mean_fake).square().mean() + F.relu(self.mean_real - fake).square().mean()

    @torch.no_grad()
    def remember(self, real: Tensor, fake: Tensor) -> None:
        """Moves the running means towards the mean logits of a step, the same on all processes, unless broken."""
        whole = real.isfinite() & fake.isfinite()
        for memory, new in ((self.mean_real, real), (self.mean_fake, fake)):
            memory.lerp_(torch.where(whole, new, memory), 1 - MEMORY)


def mean(scalars: list[Tensor]) -> Tensor:
    """The mean of scalars, one a map of logits."""
    return torch.stack(scalars).mean()


class Balanced(torch.autograd.Function):
    """Images twice, for the terms that compare them and for the one that judges them.

    Backward, the judge's gradient of each image is given ``weight`` times the length of the comparison's.
    """

    @staticmethod
    def forward(ctx: Any, decoded: Tensor, weight: float) -> tuple[Tensor, Tensor]:
        ctx.weight = weight
        return decoded.view_as(decoded), decoded.view_as(decoded)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        compared, judged = gradients
        wanted, present = (g.float().flatten(1).norm(dim=1).view(-1, 1, 1, 1) for g in gradients)
        scale = ctx.weight * wanted / present.clamp(min=1e-12)
        return compared + (scale * judged).to(compared.dtype), None
