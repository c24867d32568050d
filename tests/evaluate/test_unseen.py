"""What is said of unseen images is made of the figures of the other files, and survives JSON."""

import json
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from simflow.autoencoder.compact import CompactConfig
from simflow.autoencoder.pixels import PixelsConfig
from simflow.data import DataConfig, load
from simflow.evaluate.desk import Desk
from simflow.evaluate.fidelity import reconstruct
from simflow.evaluate.reconstruction import compare
from simflow.evaluate.scores import score, training_error
from simflow.evaluate.unseen import likelihood, reconstruction
from simflow.flow.block import BlockConfig
from simflow.flow.stack import FlowConfig
from simflow.model import Facts, ModelConfig
from simflow.posterior import FixedVariance, NoNoise


def model_of(classes=3, posterior=None, autoencoder=None):
    torch.manual_seed(0)
    config = ModelConfig(
        autoencoder=autoencoder or CompactConfig(latent_channels=4, patch=4, widths=(8, 16)),
        posterior=posterior or FixedVariance(),
        prior=FlowConfig(depths=(1, 1), block=BlockConfig(width=8, heads=1)),
    )
    names = tuple(str(label) for label in range(classes))
    return config.build(Facts(image_size=16, channels=1, class_names=names)).eval()


def arrays(count, seed):
    """Class 0 is bright above, class 1 below, class 2 nowhere; noise of different strength on all. Sorted by
    class, as image sets often are."""
    draws = np.random.default_rng(seed)
    labels = np.arange(count) * 3 // count
    images = draws.integers(60, size=(count, 16, 16)) + 20 * draws.integers(3, size=(count, 1, 1))
    images[labels == 0, :8] += 120
    images[labels == 1, 8:] += 120
    return images.astype(np.uint8), labels


@pytest.fixture(scope="module")
def image_set(tmp_path_factory):
    def make(count, seed):
        folder = tmp_path_factory.mktemp("set")
        images, labels = arrays(count, seed)
        np.savez(folder / "set.npz", images=images, labels=labels)
        return load(DataConfig(path=str(folder / "set.npz"), image_size=16, channels=1))

    return make


def desk(**options):
    return Desk(
        device=torch.device("cpu"), counting=lambda what, of: nullcontext(lambda more: None), **options
    )


def records(model, train, unseen, **options):
    """Both records of all unseen images."""
    numbers, how = torch.arange(len(unseen)), desk(**options)
    rebuilt = reconstruction(model, unseen, numbers, (), None, how)
    coded, _ = likelihood(model, train, unseen, numbers, {}, how)
    return rebuilt.record, coded


def values(record):
    return {figure["name"]: figure["value"] for figure in record["figures"]}


def test_every_figure_is_that_of_its_own_file(image_set):
    model, train, unseen = model_of(), image_set(90, 0), image_set(40, 1)
    rebuilt, coded = records(model, train, unseen)
    everything = torch.arange(40)
    own = compare(unseen.images(everything), reconstruct(model, unseen, everything, seed=0).pixels)
    assert values(rebuilt) == pytest.approx({"MSE": own.mse, "PSNR": own.psnr, "SSIM": own.ssim})
    variance = training_error(model, train, seed=0)
    scores = score(model, unseen, everything, unseen.labels, variance=variance, seed=0)
    assert coded["held_out"] == scores.summary()
    assert (coded["decoder_variance"], coded["labels"]) == (variance, "own")
    assert rebuilt["images"] == coded["held_out"]["images"] == 40


def test_it_is_deterministic_and_survives_json(image_set):
    sets = model_of(), image_set(90, 0), image_set(40, 1)
    first, again, other = (records(*sets, seed=seed) for seed in (0, 0, 1))
    assert first == again != other
    for record in first:
        assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert [record["seed"] for record in (*first, *other)] == [0, 0, 1, 1]


def test_the_batch_changes_nothing_but_rounding(image_set):
    sets = model_of(), image_set(90, 0), image_set(40, 1)
    one, other = (records(*sets, model_batch=batch) for batch in (7, 64))
    assert values(one[0]) == pytest.approx(values(other[0]), rel=1e-4)
    assert one[1]["held_out"] == pytest.approx(other[1]["held_out"], rel=1e-4)


def test_an_exact_copy_has_no_finite_psnr(image_set):
    model = model_of(posterior=NoNoise(), autoencoder=PixelsConfig())
    record = reconstruction(model, image_set(40, 1), torch.arange(40), (), None, desk()).record
    assert values(record) == {"MSE": 0, "PSNR": None, "SSIM": pytest.approx(1)}
    json.dumps(record, allow_nan=False)


def test_reconstructions_are_close_where_the_autoencoder_is_the_identity(image_set):
    unseen = image_set(10, 1)
    model = model_of(posterior=FixedVariance(std=0.1), autoencoder=PixelsConfig())
    noisy = reconstruct(model, unseen, torch.arange(10), seed=0, batch=3).pixels
    assert noisy.dtype == torch.uint8
    assert 8 < (noisy.double() - unseen.images(range(10)).double()).std() < 14
