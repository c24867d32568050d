"""Randomness is a function of its seed, and of nothing else."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from simflow.seeding import fold, generator, noise_for_seeds

PARTS = st.lists(st.integers(-5, 2**40) | st.text(max_size=3), min_size=1, max_size=4)


@given(one=PARTS, two=PARTS)
def test_folding_tells_all_parts_apart(one, two):
    assert 0 <= fold(*one) < 2**63
    assert (fold(*one) == fold(*two)) == (one == two)


def test_folding_is_the_same_on_every_machine_and_run():
    """A changed fold would change every resumed run and every image of a seed."""
    assert fold(0, "order", 3) == 8244215730568551301
    assert fold(np.int64(0), "order", torch.tensor(3)) == fold(0, "order", 3)
    assert fold(1, 2) != fold(2, 1)
    assert fold(1, 2) != fold(12)
    assert fold("1") != fold(1)
    expected = torch.tensor([[2.755, 0.2673, -0.6175]])
    torch.testing.assert_close(noise_for_seeds([7], (3,)), expected, atol=1e-4, rtol=0)


def test_generators_of_the_same_parts_draw_the_same():
    one, two, three = generator(0, "noise", 5), generator(0, "noise", 5), generator(1, "noise", 5)
    draws = [torch.randn(4, generator=g) for g in (one, two, three)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert not torch.equal(draws[0], torch.randn(4, generator=one))


def test_making_a_generator_leaves_the_global_state_alone():
    before = torch.get_rng_state()
    noise_for_seeds([1, 2], (3,))
    assert torch.equal(torch.get_rng_state(), before)


@given(seeds=st.lists(st.integers(0, 2**32), min_size=1, max_size=5), extra=st.integers(0, 5))
def test_noise_of_an_image_depends_on_its_seed_only(seeds, extra):
    together = noise_for_seeds(seeds, (3, 2))
    assert together.shape == (len(seeds), 3, 2)
    assert together.dtype == torch.float32
    for row, seed in zip(together, seeds, strict=True):
        assert torch.equal(row, noise_for_seeds([*range(extra), seed], (3, 2))[-1])


def test_noise_is_standard_normal_and_independent_between_seeds():
    noise = noise_for_seeds(range(200), (500,))
    assert abs(noise.mean()) < 0.01
    assert abs(noise.std() - 1) < 0.01
    correlation = torch.corrcoef(noise) - torch.eye(200)
    assert correlation.abs().max() < 0.25
