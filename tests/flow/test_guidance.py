"""Guided affine maps against the products of Gaussian densities that they stand for."""

import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from simflow.flow.affine import Affine
from simflow.flow.guidance import GaussianProduct, Guidance, LogScale, gaussian_product, log_scale
from tests.laws.cases import FLOWS, build, labels_for, noise_for


def affine(shift, log_scale):
    return Affine(
        *(torch.tensor(value, dtype=torch.float64).reshape(1, 1, -1) for value in (shift, log_scale))
    )


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0, 4.0])
@pytest.mark.parametrize(("log_c", "log_u"), [(-0.5, 0.2), (-1.5, 0.0), (0.1, 0.1), (-0.3, -0.2)])
def test_the_gaussian_product_is_the_normalised_product_of_densities(weight, log_c, log_u):
    """``p_c^(1+w) p_u^(-w)``, multiplied and normalised on a grid, wherever the conditional law is the narrower."""
    mean_c, mean_u = 0.4, -0.3
    line = torch.linspace(-25, 25, 200_001, dtype=torch.float64)
    step = line[1] - line[0]
    conditional, unconditional = (
        -0.5 * ((line - mean) * math.exp(-log)) ** 2 - log for mean, log in ((mean_c, log_c), (mean_u, log_u))
    )
    product = ((1 + weight) * conditional - weight * unconditional).softmax(dim=0) / step
    mean = (product * line).sum() * step
    variance = (product * (line - mean) ** 2).sum() * step
    guided = gaussian_product(affine([mean_c], [log_c]), affine([mean_u], [log_u]), weight)
    torch.testing.assert_close(guided.shift.squeeze(), mean, atol=1e-8, rtol=1e-8)
    torch.testing.assert_close(guided.log_scale.squeeze(), variance.log() / 2, atol=1e-8, rtol=1e-8)


def test_equal_scales_extrapolate_the_mean():
    conditional, unconditional = affine([1.0, -2.0], [0.3, -0.4]), affine([0.5, 3.0], [0.3, -0.4])
    guided = gaussian_product(conditional, unconditional, 2.5)
    torch.testing.assert_close(guided.shift, affine([1.0 + 2.5 * 0.5, -2.0 - 2.5 * 5.0], [0.0, 0.0]).shift)
    torch.testing.assert_close(guided.log_scale, conditional.log_scale)


def test_a_wider_conditional_law_is_guided_as_one_of_equal_scale():
    """Where ``sigma_c > sigma_u`` the product may not be normalisable: the ratio is held at one."""
    conditional, unconditional = affine([1.0], [0.8]), affine([0.5], [-0.8])
    guided = gaussian_product(conditional, unconditional, 3.0)
    torch.testing.assert_close(guided.shift, affine([1.0 + 3.0 * 0.5], [0.0]).shift)
    torch.testing.assert_close(guided.log_scale, conditional.log_scale)


@given(
    weight=st.floats(0, 100),
    shifts=st.tuples(st.floats(-50, 50), st.floats(-50, 50)),
    scales=st.tuples(st.floats(-15, 15), st.floats(-15, 15)),
)
def test_the_product_never_widens_and_never_overflows(weight, shifts, scales):
    """``D >= 1``: the guided scale is at most the conditional one, and all is finite in float32."""
    conditional, unconditional = (
        Affine(*(part.float() for part in affine([shift], [scale])))
        for shift, scale in zip(shifts, scales, strict=True)
    )
    guided = gaussian_product(conditional, unconditional, weight)
    assert (guided.log_scale <= conditional.log_scale + 1e-6).all()
    assert guided.log_scale >= conditional.log_scale - 0.5 * torch.log1p(torch.tensor(weight)) - 1e-5
    assert guided.shift.isfinite().all()


@given(
    weight=st.floats(0, 20),
    numbers=st.tuples(*(st.floats(-5, 5) for _ in range(4))),
)
def test_log_scale_guidance_is_linear(weight, numbers):
    a, b, c, d = numbers
    conditional, unconditional = affine([a], [b]), affine([c], [d])
    held = min(max(b + weight * (b - d), -15.0), 15.0)
    guided_shift, guided_scale = affine([a + weight * (a - c)], [held])
    both = log_scale(conditional, unconditional, weight, "both")
    torch.testing.assert_close(both, Affine(guided_shift, guided_scale))
    shift = log_scale(conditional, unconditional, weight, "shift")
    torch.testing.assert_close(shift, Affine(guided_shift, conditional.log_scale))
    scale = log_scale(conditional, unconditional, weight, "scale")
    torch.testing.assert_close(scale, Affine(conditional.shift, guided_scale))


@pytest.mark.parametrize("what", ["both", "scale", "shift"])
def test_weight_zero_is_the_conditional_map(what):
    conditional, unconditional = affine([1.0, 2.0], [0.1, -3.0]), affine([0.5, 0.0], [0.4, -5.0])
    torch.testing.assert_close(gaussian_product(conditional, unconditional, 0.0), conditional)
    torch.testing.assert_close(log_scale(conditional, unconditional, 0.0, what), conditional)


def test_annealing_ends_at_the_full_weight():
    """TarFlow: strength ``w i / (n - 1)`` for the token at position ``i``, counted from zero."""
    conditional, unconditional = affine([1.0], [0.0]), affine([0.0], [0.0])
    rule = LogScale(weight=2.0, annealed=True)
    shifts = [
        rule.combine(conditional, unconditional, position=i, tokens=5).shift.item() for i in range(1, 5)
    ]
    assert shifts == pytest.approx([1.5, 2.0, 2.5, 3.0])
    steady = LogScale(weight=2.0).combine(conditional, unconditional, position=1, tokens=5)
    assert steady.shift.item() == pytest.approx(3.0)


def test_which_blocks_are_guided():
    assert GaussianProduct(weight=1.0).guides(deep=True)
    assert not GaussianProduct(weight=1.0).guides(deep=False)
    assert GaussianProduct(weight=1.0, blocks="all").guides(deep=False)
    assert LogScale(weight=1.0).guides(deep=False)
    assert LogScale(weight=1.0).guides(deep=True)
    for rule in (
        GaussianProduct(weight=0.0),
        GaussianProduct(weight=0.0, blocks="all"),
        LogScale(weight=0.0),
    ):
        assert not rule.guides(deep=True)
        assert not rule.guides(deep=False)


@pytest.mark.parametrize("rule", [GaussianProduct, LogScale])
@pytest.mark.parametrize("weight", [-0.5, -2.0, float("nan"), float("inf")])
def test_a_strength_below_zero_is_refused(rule, weight):
    with pytest.raises(ValueError, match="strength of guidance must be 0 or more"):
        rule(weight=weight)


def test_a_guided_log_scale_stays_in_its_range():
    strong = Affine(shift=torch.zeros(1, 1, 1), log_scale=torch.full((1, 1, 1), 10.0))
    weak = Affine(shift=torch.zeros(1, 1, 1), log_scale=torch.full((1, 1, 1), -10.0))
    assert log_scale(strong, weak, 100.0, "both").log_scale.item() == 15.0


def test_a_rule_of_ones_own_guides_a_flow():
    @dataclass(frozen=True, kw_only=True)
    class Shifted(Guidance):
        weight: float = 0.7
        temperature: float = 1.0

        def guides(self, *, deep):
            return True

        def combine(self, conditional, unconditional, *, position, tokens):
            return log_scale(conditional, unconditional, self.weight, "shift")

    flow = build(next(iter(FLOWS.values())))
    noise, labels = noise_for(flow), labels_for()
    guided = flow.inverse(noise, labels, Shifted())
    torch.testing.assert_close(guided, flow.inverse(noise, labels, LogScale(weight=0.7, what="shift")))
    assert not torch.allclose(guided, flow.inverse(noise, labels))
    assert (Shifted().needs_classes, Shifted(temperature=0.5).needs_classes) == (True, False)
