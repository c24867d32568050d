"""Bayes' rule on a flow."""

import pytest
import torch

from simflow.flow.classify import log_probs_by_class

CENTRES = torch.tensor([-1.0, 0.5, 2.0])


def log_prob(latents, labels):
    """Unit normals around a centre for each class."""
    return -0.5 * (latents - CENTRES[labels][:, None, None, None]).square().sum(dim=(1, 2, 3))


def test_the_nearest_centre_wins():
    truth = torch.tensor([0, 1, 2, 2, 0])
    latents = CENTRES[truth][:, None, None, None] + 0.1 * torch.randn(5, 1, 2, 2)
    assert log_probs_by_class(log_prob, latents, classes=3).argmax(dim=1).equal(truth)


def test_densities_are_those_of_each_label():
    latents = torch.randn(4, 1, 2, 2)
    found = log_probs_by_class(log_prob, latents, classes=3)
    assert found.shape == (4, 3)
    torch.testing.assert_close(found[:, 2], log_prob(latents, torch.full((4,), 2)))


def test_a_flow_without_classes_cannot_tell():
    with pytest.raises(ValueError, match="only a density with classes"):
        log_probs_by_class(log_prob, torch.randn(4, 1, 2, 2), classes=0)
