"""The laws of a flow, on the options that make it a TarFlow or a STARFlow."""

import math

import pytest
import torch

from simflow.flow.base import FittedNormal
from simflow.flow.block import BlockConfig
from simflow.flow.guidance import GaussianProduct, LogScale, gaussian_product, log_scale
from simflow.flow.stack import Flow, FlowConfig
from simflow.nn.rotary import Rotary
from simflow.shapes import NULL

CLASSES = 3


def config(*, depths=(1, 2), patch=1, first="raster", labelled="all", base=None, **block) -> FlowConfig:
    block = {"conditioning": "prefix", "positions": Rotary(base=20.0)} | block
    chosen = {} if base is None else {"base": base}
    return FlowConfig(
        depths=depths,
        patch=patch,
        first=first,
        labelled=labelled,
        block=BlockConfig(width=16, heads=2, **block),
        **chosen,
    )


FLOWS = {
    "prefix": config(),
    "prefix, learned start": config(first_token="learned"),
    "prefix, mean class": config(null_class="mean"),
    "rotary, added": config(conditioning="added", null_class="mean"),
    "rotary, adaLN": config(conditioning="adaln"),
    "rotary, still numbers": config(positions=Rotary(still=4)),
    "final norm": config(conditioning="added", final_norm=True),
    "volume-preserving": config(conditioning="added", scale="none", base=FittedNormal()),
    "volume-preserving, clip": config(conditioning="added", scale="none", clip=1.5, first_token="learned"),
    "reversed first": config(first="reversed", depths=(1, 1, 2)),
    "label in the deep block": config(labelled="deep", depths=(1, 1, 2)),
    "starflow": config(
        first_token="learned", scale="softplus", clip=4.0, final_norm=True, depths=(1, 1, 3), patch=2
    ),
}


def build(name: str, *, classes: int = CLASSES) -> Flow:
    """Random parameters in float64; latents are (2, 2, 3), or (1, 4, 6) with patches of 2."""
    shape = (2, 2, 3) if FLOWS[name].patch == 1 else (1, 4, 6)
    flow = FLOWS[name].build(latent_shape=shape, classes=classes).double()
    with torch.no_grad():
        for key, parameter in flow.named_parameters():
            parameter += (0.05 if "head" in key else 0.15) * torch.randn(parameter.shape)
        for buffer in flow.buffers():
            buffer.uniform_(0.3, 2.0)
    return flow.eval()


def inputs(flow: Flow) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(4, *flow.latent_shape).double(), torch.tensor([0, NULL, 2, 1])


@pytest.mark.parametrize("name", FLOWS)
def test_inverse_undoes_forward_and_forward_undoes_inverse(name):
    flow = build(name)
    latents, labels = inputs(flow)
    torch.testing.assert_close(flow.inverse(flow(latents, labels)[0], labels), latents)
    noise = torch.randn(4, *flow.noise_shape).double()
    torch.testing.assert_close(flow(flow.inverse(noise, labels), labels)[0], noise)


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize("classes", [CLASSES, 0])
def test_log_det_is_that_of_the_jacobian(name, classes):
    flow = build(name, classes=classes)
    latents, labels = inputs(flow)
    for x, label in zip(latents, labels if classes else torch.full((4,), NULL), strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda x, y=label: flow(x[None], y[None])[0][0], x)
        _, wanted = torch.linalg.slogdet(jacobian.reshape(x.numel(), x.numel()))
        _, log_det = flow(x[None], label[None])
        torch.testing.assert_close(log_det[0], wanted)


@pytest.mark.parametrize("name", FLOWS)
def test_blocks_are_causal_in_their_own_order(name):
    flow = build(name)
    tokens, channels = flow.noise_shape
    x = torch.randn(1, tokens, channels).double()
    for index, block in enumerate(flow.chain()):
        condition = block.condition(torch.tensor([1]))
        jacobian = torch.autograd.functional.jacobian(lambda x, b=block, c=condition: b(x, c)[0], x)
        moves = jacobian.abs().amax(dim=(0, 2, 3, 5))
        if (index % 2 == 1) != (FLOWS[name].first == "reversed"):
            moves = moves.flip(0, 1)
        assert moves.triu(1).max() == 0
        assert moves.tril()[-1].min() > 0, "the last token sees all others"


def dull_inverse(flow, z, labels, combine):
    """A parallel pass for every token: no cache, no doubled batch. ``combine`` mixes or takes the first."""
    u = flow.base.inverse(z)
    blocks = flow.chain()
    for block in reversed(blocks):
        ordered = u if block.order == "raster" else u.flip(1)
        x = torch.zeros_like(ordered)
        for i in range(x.shape[1]):
            x[:, i] = combine(block, x, labels, i, block is blocks[-1]).inverse(ordered)[:, i]
        u = x if block.order == "raster" else x.flip(1)
    return u


@pytest.mark.parametrize("name", FLOWS)
@torch.no_grad()
def test_cached_inverse_is_the_dullest_loop(name):
    flow = build(name)
    _, labels = inputs(flow)
    noise = torch.randn(4, *flow.noise_shape).double()

    def plain(block, x, labels, i, deep):
        return block.affine_of(x, block.condition(labels))[0]

    wanted = dull_inverse(flow, noise, labels, plain)
    states = flow.trajectory(noise, labels)
    assert len(states) == len(flow.chain()) + 1
    p = flow.patch
    found = states[-1].unfold(2, p, p).unfold(3, p, p).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("rule", ["product", "log-scale"])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.parametrize("classes", [CLASSES, 0])
@pytest.mark.parametrize("name", ["prefix, learned start", "rotary, adaLN", "volume-preserving"])
@torch.no_grad()
def test_guided_inverse_is_the_dullest_loop(name, classes, temperature, rule):
    flow = build(name, classes=classes)
    labels = torch.tensor([0, NULL, 2, 1]) if classes else torch.full((4,), NULL)
    noise = torch.randn(4, *flow.noise_shape).double()
    guidance = (
        GaussianProduct(weight=1.2, temperature=temperature)
        if rule == "product"
        else LogScale(weight=0.4, temperature=temperature, what="shift")
    )

    def guided(block, x, labels, i, deep):
        heat = torch.full((4,), temperature, dtype=torch.float64)
        conditional, _ = block.affine_of(x, block.condition(labels))
        unconditional, _ = block.affine_of(x, block.condition(torch.full_like(labels, NULL), heat))
        if rule == "log-scale":
            return log_scale(conditional, unconditional, 0.4, "shift")
        return gaussian_product(conditional, unconditional, 1.2) if deep else conditional

    wanted = dull_inverse(flow, noise, labels, guided)
    c, h, w = flow.latent_shape
    torch.testing.assert_close(
        flow.inverse(noise, labels, guidance), wanted.transpose(1, 2).reshape(4, c, h, w)
    )
    guided_at_all = bool(classes) or temperature != 1
    difference = (flow.inverse(noise, labels, guidance) - flow.inverse(noise, labels)).abs().max()
    assert (difference > 1e-8) == guided_at_all


@pytest.mark.parametrize("name", FLOWS)
def test_every_parameter_gets_a_gradient_and_labels_matter(name):
    flow = build(name)
    latents, labels = inputs(flow)
    flow.energy(latents, labels, torch.Generator()).value.sum().backward()
    for key, parameter in flow.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        if "classes" not in key:
            assert parameter.grad.abs().max() > 0, key
    other = torch.tensor([1, 0, NULL, 2])
    assert (flow.log_prob(latents, labels) - flow.log_prob(latents, other)).abs().min() > 1e-6


def test_shallow_blocks_without_labels_have_no_class_table():
    flow = build("label in the deep block")
    assert [block.classes is None for block in flow.chain()] == [True, True, False]


def test_a_flow_without_classes_learns_no_class_vector():
    flow = build("rotary, added", classes=0)
    assert not any("classes" in name for name, _ in flow.named_parameters())


def test_volume_is_preserved_up_to_the_base():
    flow = build("volume-preserving")
    latents, labels = inputs(flow)
    u, log_det, _ = flow.walk(latents, labels, None)
    assert log_det.abs().max() == 0
    variance = flow.base.variance
    density = -0.5 * (u.square() / variance + torch.log(2 * math.pi * variance)).sum(dim=(1, 2))
    torch.testing.assert_close(flow.log_prob(latents, labels), density)


def test_the_base_is_fitted_in_training_only():
    flow = build("volume-preserving")
    latents, labels = inputs(flow)
    before, state = flow.base.variance.clone(), flow.base.variance
    flow.energy(latents, labels, torch.Generator())
    torch.testing.assert_close(flow.base.variance, before)
    u, _, _ = flow.walk(latents, labels, None)
    flow.train().energy(latents, labels, torch.Generator())
    torch.testing.assert_close(flow.base.variance, 0.9 * before + 0.1 * u.detach().square().mean(dim=0))
    assert flow.base.variance is state, "fitted in place, as averages and checkpoints expect"


def test_a_fitted_base_converges_to_the_variance_of_the_noise():
    flow = FlowConfig(
        depths=(1,),
        block=BlockConfig(width=16, heads=2, conditioning="added", scale="none"),
        base=FittedNormal(),
    ).build(latent_shape=(2, 2, 2), classes=0)
    std = torch.tensor([0.5, 2.0])[:, None, None]
    for _ in range(60):
        flow.energy(std * torch.randn(512, 2, 2, 2), torch.full((512,), NULL), torch.Generator())
    torch.testing.assert_close(flow.base.variance.mean(dim=0), torch.tensor([0.25, 4.0]), rtol=0.1, atol=0)


def test_bad_choices_are_refused_in_one_sentence():
    with pytest.raises(ValueError, match="leave final_norm off"):
        BlockConfig(final_norm=True)
    with pytest.raises(ValueError, match="leave 6"):
        config(positions=Rotary(still=2)).build(latent_shape=(2, 2, 2), classes=0)(
            torch.zeros(1, 2, 2, 2), torch.tensor([NULL])
        )
    with pytest.raises(ValueError, match="temperature of guidance must be positive, not 0"):
        LogScale(temperature=0.0)


@pytest.mark.parametrize("name", FLOWS)
@torch.no_grad()
def test_bfloat16_is_near_float32_and_undone(name):
    flow = build(name).float()
    latents, labels = inputs(flow)
    exact, _ = flow(latents.float(), labels)
    with torch.autocast("cpu", torch.bfloat16):
        noise, log_det = flow(latents.float(), labels)
        again = flow.inverse(noise, labels)
    assert noise.dtype == log_det.dtype == again.dtype == torch.float32
    assert (noise - exact).abs().max() < 0.1
    assert (again - latents).abs().max() < 0.1


def test_recomputing_layers_changes_no_gradient():
    flow = build("starflow")
    latents, labels = inputs(flow)
    gradients = []
    for checkpointing in (False, True):
        for block in flow.chain():
            block.transformer.checkpointing = checkpointing
        flow.zero_grad()
        flow.energy(latents, labels, torch.Generator()).value.sum().backward()
        gradients.append([parameter.grad.clone() for parameter in flow.parameters()])
    for first, second in zip(*gradients, strict=True):
        torch.testing.assert_close(first, second)
