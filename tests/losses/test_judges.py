"""The judge that looks at features, and the balance of what it teaches."""

import pytest
import torch

from simflow.losses.adversarial import AdversarialConfig, Balanced
from simflow.losses.discriminators import FeatureNetwork
from simflow.losses.perceptual import SqueezeNetDistance
from tests.laws.cases import normal

BY_FEATURES = AdversarialConfig(network=FeatureNetwork(width=8))


def judge(config=BY_FEATURES, *, size=32):
    torch.manual_seed(0)
    return config.build(image_channels=1, image_size=size)


def images(count, seed=1):
    return normal(count, 1, 32, 32, seed=seed).clamp(-1, 1).float()


def test_an_image_is_judged_alone_on_every_map():
    network = judge().network.eval()
    together = network(images(4))
    assert len(together) == 3
    assert [logits.shape[1] for logits in together] == [1, 1, 1]
    alone = [torch.cat(each) for each in zip(*(network(image[None]) for image in images(4)), strict=True)]
    for first, second in zip(together, alone, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)


def test_it_sees_the_features_of_the_embedded_network_scaled_to_one():
    """The first map by hand: conv1 of SqueezeNet, divided by its root mean square, through the first head."""
    network = judge().network.eval()
    features = SqueezeNetDistance().build().backbone(images(1))[0]
    by_hand = network.heads[0](features / features.square().mean().sqrt())
    torch.testing.assert_close(network(images(1))[0], by_hand, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("learning", [False, True])
def test_to_please_a_judge_leaves_it_in_its_mode(learning):
    discriminator = judge().train(learning)
    discriminator.displeasure(images(1))
    assert discriminator.network.training == learning


def test_only_the_heads_learn():
    discriminator = judge().train()
    verdict = discriminator(images(2), images(2, seed=2))
    verdict.loss.backward()
    learning = {name for name, p in discriminator.named_parameters() if p.requires_grad}
    assert learning
    assert all(name.startswith("network.heads.") for name in learning)
    assert all((p.grad is not None) == (name in learning) for name, p in discriminator.named_parameters())


def test_the_hinge_counts_every_map_alike():
    discriminator = judge().eval()
    real, fake = discriminator.network(images(2)), discriminator.network(images(2, seed=2))
    expected = [
        ((1 - a).clamp(min=0).mean() + (1 + b).clamp(min=0).mean()) / 2
        for a, b in zip(real, fake, strict=True)
    ]
    verdict = discriminator(images(2), images(2, seed=2))
    torch.testing.assert_close(verdict.loss, sum(expected) / 3)
    torch.testing.assert_close(verdict.real, sum(a.mean() for a in real) / 3)


def test_pleasing_it_moves_nothing_of_it():
    """Nor the estimates of its spectral norms, though it is learning."""
    discriminator = judge().train()
    before = {name: tensor.clone() for name, tensor in discriminator.state_dict().items()}
    decoded = images(2).requires_grad_()
    discriminator.displeasure(decoded).backward()
    assert decoded.grad.abs().sum() > 0
    assert all(p.grad is None for p in discriminator.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in discriminator.state_dict().items())
    assert discriminator.network.training


def test_what_pleases_it_lowers_the_displeasure():
    discriminator = judge().eval()
    decoded = images(2).requires_grad_()
    first = discriminator.displeasure(decoded)
    (gradient,) = torch.autograd.grad(first, decoded)
    assert discriminator.displeasure(decoded.detach() - 1e-2 * gradient / gradient.norm()) < first


def test_a_relative_weight_is_that_of_gradients():
    """Image by image, whatever the scales of the two terms."""
    decoded, weight = normal(3, 1, 4, 4).requires_grad_(), 0.8
    coefficients = torch.tensor([1.0, 1e-3, 50.0], dtype=torch.float64).view(3, 1, 1, 1)

    def error(x):
        return (coefficients * x.square()).sum()

    def displeasure(x):
        return 7 * x.sin().sum()

    compared, judged = Balanced.apply(decoded, weight)
    (both,) = torch.autograd.grad(error(compared) + displeasure(judged), decoded)
    (alone,) = torch.autograd.grad(error(decoded), decoded)
    (of_judge,) = torch.autograd.grad(displeasure(decoded), decoded)
    extra = (both - alone).flatten(1)
    lengths = weight * alone.flatten(1).norm(dim=1)
    torch.testing.assert_close(extra.norm(dim=1), lengths, rtol=1e-5, atol=0)
    along = torch.nn.functional.cosine_similarity(extra, of_judge.flatten(1))
    torch.testing.assert_close(along, torch.ones(3, dtype=torch.float64))


def test_a_judge_without_an_opinion_teaches_nothing():
    decoded = normal(2, 1, 4, 4).requires_grad_()
    compared, judged = Balanced.apply(decoded, 0.8)
    (gradient,) = torch.autograd.grad(compared.square().sum() + 0 * judged.sum(), decoded)
    torch.testing.assert_close(gradient, 2 * decoded)


@pytest.mark.parametrize("maps", [0, 8])
def test_maps_that_there_are_not(maps):
    with pytest.raises(ValueError, match=f"has 7 feature maps to look at, not {maps}"):
        FeatureNetwork(maps=maps)


def test_images_too_small():
    with pytest.raises(ValueError, match="needs images of 17 px at least, not 16"):
        judge(size=16)
