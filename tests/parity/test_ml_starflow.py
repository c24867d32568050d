"""Equal to ml-starflow within 1e-5 in float32: random weights, every option. Skipped without a checkout of it."""

import pytest
import torch

from tests.golden.cases import STARFLOW, product
from tests.parity.peers import StarFlow, path_of, shake

pytestmark = pytest.mark.skipif(path_of("starflow") is None, reason="SIMFLOW_PEER_STARFLOW names no checkout")
TOLERANCE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(params=STARFLOW, scope="module")
def both(request):
    """A case, the peer with random weights, and our flow with the same."""
    case = STARFLOW[request.param]
    torch.manual_seed(7)
    peer = StarFlow(case)
    shake(peer.model)
    state = {name: tensor for name, tensor in peer.model.state_dict().items() if name != "var"}
    return case, peer, case.read(state)


def test_names_and_shapes_are_the_peers(both):
    case, peer, _ = both
    dropped = ("attn_mask", "freqs_cos", "freqs_sin", "var")
    state = peer.model.state_dict().items()
    assert {
        name: tuple(t.shape) for name, t in state if name.rpartition(".")[2] not in dropped
    } == case.shapes


def test_forward_and_log_det(both):
    case, peer, flow = both
    latents, labels = torch.randn(8, *case.latent_shape), torch.arange(8) % max(case.classes, 1)
    labels = labels if case.classes else torch.full((8,), -1)
    labels[::3] = -1
    z, log_det = peer.forward(latents, labels)
    ours, change = flow(latents, labels)
    torch.testing.assert_close(ours, z, **TOLERANCE)
    torch.testing.assert_close(change / z[0].numel(), log_det / z[0].numel(), **TOLERANCE)


def test_reverse(both):
    case, peer, flow = both
    noise = torch.randn(3, *flow.noise_shape)
    wanted = peer.reverse(noise, case.labels())
    assert wanted.abs().max() < 20
    torch.testing.assert_close(flow.inverse(noise, case.labels()), wanted, **TOLERANCE)


@pytest.mark.parametrize("weight", [0.4, 1.5, 3.6])
@pytest.mark.parametrize("blocks", ["deep", "all"])
def test_guided_reverse(both, weight, blocks):
    case, peer, flow = both
    if not case.classes:
        pytest.skip("the peer guides by classes only")
    noise = torch.randn(3, *flow.noise_shape)
    ours, theirs = product(weight, blocks)
    wanted = peer.reverse(noise, case.labels(), **theirs)
    torch.testing.assert_close(flow.inverse(noise, case.labels(), ours), wanted, **TOLERANCE)


def test_training_loss(both):
    case, peer, flow = both
    latents, labels = torch.randn(3, *case.latent_shape), case.labels()
    noise, _, _, log_dets = peer.model(latents, peer.label(labels))
    loss = peer.model.get_loss(noise, log_dets)["loss"]
    energy = flow.energy(latents, labels, torch.Generator()).value
    torch.testing.assert_close(energy.mean() / noise[0].numel(), loss, **TOLERANCE)
