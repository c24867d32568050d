"""Errors of means: a sample's standard deviation over the root of the number of images."""

import math

import pytest
import torch

from simflow.cli.figures import say
from simflow.evaluate.fidelity import figures_of
from simflow.evaluate.scores import Scores

VALUES = torch.tensor([1.0, 2.0, 6.0]).double()
ERROR = math.sqrt(7 / 3)


def test_a_mean_over_images_has_its_error_and_interval():
    (figure,) = figures_of({"PSNR": VALUES})
    assert (figure.value, figure.standard_error) == (3, pytest.approx(ERROR))
    assert figure.interval == pytest.approx((3 - 1.96 * ERROR, 3 + 1.96 * ERROR))


def test_the_bound_has_its_error_and_spread():
    summary = Scores(bits=VALUES, reconstruction=VALUES, prior=VALUES, entropy=VALUES).summary()
    assert summary["standard_error"] == pytest.approx(ERROR)
    assert summary["std_over_images"] == pytest.approx(math.sqrt(7))


def test_the_bound_of_one_image_has_no_error_and_is_said():
    one = Scores(bits=VALUES[:1], reconstruction=VALUES[:1], prior=VALUES[:1], entropy=VALUES[:1]).summary()
    foreign = {"letters": one | {"bits_per_dimension": None, "auroc": 0.5}}
    record = {
        "samples": {"count": 4},
        "reference": {"count": 4, "source": "pictures"},
        "generation": [],
        "likelihood": {"held_out": one, "bound": "ELBO", "foreign": foreign},
        "left_out": [],
    }
    assert say(record)[1:] == [
        "likelihood: 1.0000 bits per dimension on 1 held-out images (ELBO)",
        "  letters: no number of bits, told apart with AUROC 0.500",
    ]
