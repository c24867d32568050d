"""Inception v3 on random weights against torch-fidelity's, within 1e-4."""

import pytest
import torch

from simflow.evaluate.inception import Inception, InceptionV3
from simflow.evaluate.resize import colour, tensorflow1

pytest.importorskip("torch_fidelity", reason="the reference environment is not installed")


@pytest.fixture
def weights(tmp_path):
    """Random weights under which the activations neither vanish nor explode, as a file."""
    network = InceptionV3()
    for name, tensor in network.state_dict().items():
        if name.endswith("running_mean"):
            tensor.normal_(std=0.1)
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
        elif name.endswith("conv.weight"):
            tensor.normal_(std=(2 / tensor[0].numel()) ** 0.5)
        elif name.endswith("bn.bias"):
            tensor.normal_(std=0.1)
    path = tmp_path / "inception.pth"
    torch.save(network.state_dict(), path)
    return path


def test_features_and_probabilities(weights, photos):
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    names = ["2048", "logits_unbiased"]
    theirs = FeatureExtractorInceptionV3("theirs", names, feature_extractor_weights_path=str(weights))
    features, logits = theirs(photos)
    seen = Inception.from_file(weights)(photos)
    assert features.std() > 0.05
    torch.testing.assert_close(seen.features, features, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(seen.probabilities, logits.softmax(dim=1), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("size", [47, 299, 31])
def test_resize(photos, size):
    from torch_fidelity.interpolate_compat_tensorflow import (
        interpolate_bilinear_2d_like_tensorflow1x as theirs,
    )

    expected = theirs(photos.float(), size=(size, size), align_corners=False)
    torch.testing.assert_close(tensorflow1(colour(photos), size), expected, atol=1e-3, rtol=0)
