"""Equal to ml-tarflow within 1e-5 in float32: random weights, every option. Skipped without a checkout of it."""

import math

import pytest
import torch

from simflow.flow.apple import read_tarflow
from simflow.flow.score import ScoreDenoise
from simflow.objective import bits_per_dimension
from tests.golden.cases import TARFLOW, log_scale
from tests.parity.peers import TarFlow, path_of, shake

pytestmark = pytest.mark.skipif(path_of("tarflow") is None, reason="SIMFLOW_PEER_TARFLOW names no checkout")
TOLERANCE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(params=TARFLOW, scope="module")
def both(request):
    """A case, the peer with random weights, and our flow with the same."""
    case = TARFLOW[request.param]
    torch.manual_seed(7)
    peer = TarFlow(case)
    shake(peer.model)
    if not case.peer["nvp"]:
        peer.model.var.uniform_(0.3, 2.0)
    return case, peer, case.read(peer.model.state_dict())


def test_names_and_shapes_are_the_peers(both):
    case, peer, _ = both
    shapes = {name: tuple(t.shape) for name, t in peer.model.state_dict().items() if "attn_mask" not in name}
    assert shapes == {"var": shapes["var"], **case.shapes}


def test_forward_and_log_det(both):
    case, peer, flow = both
    latents, labels = torch.randn(8, *case.latent_shape), torch.arange(8) % max(case.classes, 1)
    labels = labels if case.classes else torch.full((8,), -1)
    labels[::3] = -1
    z, log_det = peer.forward(latents, labels)
    u, ours, _ = flow.walk(latents, labels, None)
    torch.testing.assert_close(u, z, **TOLERANCE)
    torch.testing.assert_close(ours / z[0].numel(), log_det / z[0].numel(), **TOLERANCE)


@pytest.mark.parametrize("what", ["ab", "a", "b"])
@pytest.mark.parametrize("annealed", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 0.5, 1.5])
@pytest.mark.parametrize("weight", [0.0, 0.4, 1.5])
def test_reverse(both, weight, what, annealed, temperature):
    case, peer, flow = both
    noise = torch.randn(4, *flow.noise_shape)
    ours, theirs = log_scale(weight, what, annealed, temperature)
    wanted = peer.reverse(noise, case.labels()[[0, 1, 2, 0]], **theirs)
    assert wanted.abs().max() < 20
    torch.testing.assert_close(flow.inverse(noise, case.labels()[[0, 1, 2, 0]], ours), wanted, **TOLERANCE)


def test_trajectory(both):
    case, peer, flow = both
    noise = torch.randn(3, *flow.noise_shape)
    wanted, found = peer.trajectory(noise, case.labels()), flow.trajectory(noise, case.labels())
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, **TOLERANCE)


def test_training_loss_and_fit_of_the_variance(both):
    case, peer, flow = both
    latents, labels = torch.randn(3, *case.latent_shape), case.labels()
    z, log_det = peer.forward(latents, labels)
    loss = peer.model.get_loss(z, log_det / z[0].numel())
    energy = flow.energy(latents, labels, torch.Generator()).value
    torch.testing.assert_close(energy.mean() / z[0].numel(), loss, **TOLERANCE)
    if case.peer["nvp"]:
        return
    before = peer.model.var.clone()
    flow.train().energy(latents, labels, torch.Generator())
    flow.settle(lambda seen: seen)
    flow.eval()
    peer.model.update_prior(z)
    torch.testing.assert_close(flow.base.variance, peer.model.var, **TOLERANCE)
    peer.model.var.copy_(before)
    flow.base.variance.copy_(before)


def test_score_denoising(both):
    """The peer steps along the gradient of a batch mean; its variance is taken for one."""
    case, peer, flow = both
    if not case.peer["nvp"]:
        pytest.skip("with a fitted variance our score is that of the true density")
    x, labels, std = torch.randn(3, *case.latent_shape).requires_grad_(), case.labels(), 0.3
    z, log_det = peer.forward(x, labels)
    (gradient,) = torch.autograd.grad(peer.model.get_loss(z, log_det / z[0].numel()), x)
    wanted = x - 1.2 * x.numel() * std**2 * gradient
    found = ScoreDenoise(std=std, multiplier=1.2).refine(flow.log_prob, x.detach(), labels)
    torch.testing.assert_close(found, wanted.detach(), atol=1e-5, rtol=1e-5)


def test_a_saved_checkpoint_samples_the_same_image(both, tmp_path):
    case, peer, flow = both
    torch.save(peer.model.state_dict(), tmp_path / "model.pth")
    read = read_tarflow(tmp_path / "model.pth")
    ours = read.config.build(latent_shape=read.latent_shape, classes=read.classes)
    ours.load_state_dict(read.state)
    noise = torch.randn(3, *flow.noise_shape)
    wanted = peer.reverse(noise, case.labels(), guidance=0.5)
    found = ours.inverse(noise, case.labels(), log_scale(0.5)[0])
    torch.testing.assert_close(found, wanted, **TOLERANCE)


def test_bits_a_dimension_by_the_published_protocol(both):
    """Standard normal noise, so the fitted variance is left out, as the peer does."""
    case, peer, flow = both
    if not case.peer["nvp"]:
        pytest.skip("the peer's protocol has no fitted variance")
    latents, labels = torch.rand(3, *case.latent_shape) * 2 - 1, case.labels()
    z, log_det = peer.forward(latents, labels)
    log_prob = -0.5 * (z**2 + math.log(2 * math.pi)).flatten(1).sum(1) - math.log(128) * z[0].numel()
    wanted = (-log_prob - log_det) / z[0].numel() / math.log(2)
    bits = bits_per_dimension(flow.log_prob(latents, labels), z[0].numel(), step=2 / 256)
    torch.testing.assert_close(bits, wanted, **TOLERANCE)
