"""The discriminator: shapes, hinge, LeCam, and that what it says of an image depends on no other."""

import pytest
import torch

from simflow.losses.adversarial import MEMORY, AdversarialConfig
from simflow.losses.discriminators import PatchNetwork
from tests.laws.cases import normal

SMALL = AdversarialConfig(network=PatchNetwork(filters=8, layers=2))


def discriminator(config=SMALL, *, channels=3, size=32, seed=0):
    torch.manual_seed(seed)
    return config.build(image_channels=channels, image_size=size)


def test_the_published_network():
    """Convolutions of 4 x 4: 3 -> 64 -> 128 -> 256 -> 512 -> 1, patches of 70 pixels."""
    network = discriminator(AdversarialConfig(), size=256)
    convolutions = [m for m in network.network if isinstance(m, torch.nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == [64, 128, 256, 512, 1]
    assert [c.stride[0] for c in convolutions] == [2, 2, 2, 1, 1]
    assert sum(c.weight.numel() + c.bias.numel() for c in convolutions) == 2_764_737
    assert [c.weight.std().item() for c in convolutions] == pytest.approx([0.02] * 5, rel=0.05)
    image = torch.zeros(1, 3, 96, 96, requires_grad=True)
    logits = network.network(image)[0]
    assert logits.shape == (1, 1, 10, 10)
    plain = discriminator(AdversarialConfig(network=PatchNetwork(norm="none")), size=256)
    (gradient,) = torch.autograd.grad(plain.network(image)[0][0, 0, 5, 5], image)
    seen = gradient.abs().sum(dim=(0, 1)).nonzero()
    assert (seen.max(dim=0).values - seen.min(dim=0).values + 1).tolist() == [70, 70]


@pytest.mark.parametrize("norm", ["group", "none"])
def test_an_image_is_judged_alone(norm):
    network = discriminator(AdversarialConfig(network=PatchNetwork(filters=8, layers=2, norm=norm))).train()
    images = normal(4, 3, 32, 32, dtype=torch.float32)
    together = network.network(images)[0]
    alone = torch.cat([network.network(image[None])[0] for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-6)


def test_the_hinge():
    """``1/2 E max(0, 1 - D(image)) + 1/2 E max(0, 1 + D(decoded))``."""
    network = discriminator()
    images, decoded = normal(2, 3, 32, 32, dtype=torch.float32), normal(2, 3, 32, 32, seed=2).float()
    real, fake = network.network(images)[0], network.network(decoded)[0]
    verdict = network(images, decoded)
    zero = torch.zeros(())
    expected = (torch.maximum(zero, 1 - real).mean() + torch.maximum(zero, 1 + fake).mean()) / 2
    torch.testing.assert_close(verdict.loss, expected)
    torch.testing.assert_close(verdict.real, real.mean())
    torch.testing.assert_close(verdict.fake, fake.mean())


def test_what_is_judged_well_enough_teaches_nothing():
    network = discriminator(AdversarialConfig(network=PatchNetwork(filters=8, layers=2, norm="none")))
    images = normal(2, 3, 32, 32).float()
    with torch.no_grad():
        network.network[-1].weight.zero_()
        network.network[-1].bias.fill_(2.0)
    verdict = network(images, images)
    assert verdict.loss.item() == pytest.approx(0.5 * 3.0)
    (gradient,) = torch.autograd.grad(verdict.loss, network.network[-1].bias)
    assert gradient.item() == pytest.approx(0.5)


def test_lecam_holds_logits_near_the_others_memory():
    network = discriminator(AdversarialConfig(network=PatchNetwork(filters=8, layers=2), lecam=0.3))
    images, decoded = normal(2, 3, 32, 32).float(), normal(2, 3, 32, 32, seed=2).float()
    network.remember(torch.tensor(30.0), torch.tensor(-20.0))
    assert network.mean_real.item() == pytest.approx(30 * (1 - MEMORY))
    assert network.mean_fake.item() == pytest.approx(-20 * (1 - MEMORY))
    plain = discriminator()
    plain.load_state_dict(network.state_dict())
    real, fake = network.network(images)[0], network.network(decoded)[0]
    extra = (real - network.mean_fake).clamp(min=0) ** 2 + 0
    extra = extra.mean() + ((network.mean_real - fake).clamp(min=0) ** 2).mean()
    torch.testing.assert_close(network(images, decoded).loss, plain(images, decoded).loss + 0.3 * extra)


def test_the_memory_is_saved_and_survives_a_broken_step():
    network = discriminator()
    network.remember(torch.tensor(1.0), torch.tensor(2.0))
    before = network.mean_real.clone()
    network.remember(torch.tensor(float("nan")), torch.tensor(float("inf")))
    assert torch.equal(network.mean_real, before)
    assert {"mean_real", "mean_fake"} <= network.state_dict().keys()


def test_it_cannot_teach_the_autoencoder():
    decoded = normal(1, 3, 32, 32).float().requires_grad_()
    with pytest.raises(AssertionError, match="must not teach"):
        discriminator()(decoded.detach(), decoded)


@pytest.mark.parametrize(("layers", "size"), [(1, 6), (2, 12), (3, 24)])
def test_the_smallest_image(layers, size):
    config = AdversarialConfig(network=PatchNetwork(filters=8, layers=layers))
    network = discriminator(config, channels=1, size=size)
    assert network.network(torch.zeros(1, 1, size, size))[0].shape == (1, 1, 1, 1)
    with pytest.raises(ValueError, match=f"{layers} layers needs images of {size} px at least"):
        discriminator(config, size=size - 1)


def test_a_head_start_before_the_first_step():
    with pytest.raises(ValueError, match="cannot begin 5 steps before step 3"):
        AdversarialConfig(start_step=3, head_start=5)
