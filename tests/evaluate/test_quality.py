"""The record is made of the figures of the other files, and survives JSON."""

import json
import math

import numpy as np
import pytest
import torch

from simflow.autoencoder.compact import CompactConfig
from simflow.autoencoder.pixels import PixelsConfig
from simflow.data import DataConfig, load
from simflow.evaluate.classify import fit
from simflow.evaluate.diversity import diversity
from simflow.evaluate.features import pooled_pixels
from simflow.evaluate.likelihood import elbo_bits
from simflow.evaluate.quality import evaluate, reconstruct
from simflow.evaluate.reconstruction import compare
from simflow.flow.block import BlockConfig
from simflow.flow.stack import FlowConfig
from simflow.model import Facts, ModelConfig
from simflow.posterior import FixedVariance, NoNoise
from simflow.shapes import NULL


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
    def make(count, seed, **more):
        folder = tmp_path_factory.mktemp("set")
        images, labels = arrays(count, seed)
        labels[: more.pop("wrong", 0)] = 2
        np.savez(
            folder / "set.npz", images=images, **({"labels": labels} if more.pop("classes", True) else {})
        )
        return load(DataConfig(path=str(folder / "set.npz"), image_size=16, channels=1, **more))

    return make


def samples_of(count, seed=7):
    images, labels = arrays(count, seed)
    return torch.from_numpy(images)[:, None], torch.from_numpy(labels)


def test_every_figure_is_that_of_its_own_file(image_set):
    model, train, unseen = model_of(), image_set(90, 0), image_set(40, 1, wrong=4)
    samples, labels = samples_of(30)
    labels = torch.where(torch.arange(30) == 0, 1, labels)  # one sample of class 0 was asked for as class 1
    quality = evaluate(model, train, unseen, samples, labels, sample_seeds=range(100, 130))
    real, held = train.images(range(90)), unseen.images(range(40))
    assert quality.recognition is not None
    assert quality.recognition.samples == pytest.approx(29 / 30)
    assert quality.recognition.real == fit(real, train.labels).accuracy(held, unseen.labels) == 0.9
    assert quality.recognition.by_class == pytest.approx({"0": 1, "1": 10 / 11, "2": 1})
    pooled = pooled_pixels(samples), labels, pooled_pixels(real), train.labels
    assert quality.diversity == pytest.approx(diversity(*pooled)) != 1
    assert quality.reconstruction == compare(held, reconstruct(model, held, seed=0))
    assert quality.likelihood == elbo_bits(model, real, held, unseen.labels)
    assert (quality.samples, quality.train_images, quality.held_out_images) == (30, 90, 40)
    assert quality.sample_seeds == tuple(range(100, 130))


def test_it_is_deterministic_and_survives_json(image_set):
    model, train, unseen = model_of(), image_set(90, 0), image_set(40, 1)
    first, again, other = (
        evaluate(model, train, unseen, *samples_of(30), sample_seeds=range(30), seed=seed)
        for seed in (0, 0, 1)
    )
    assert first == again != other
    tree = json.loads(json.dumps(first.to_dict(), allow_nan=False))
    assert tree["likelihood"]["bits_per_dimension"] == first.likelihood.bits_per_dimension
    assert tree["recognition"]["by_class"] == first.recognition.by_class
    assert tree["seed"] == 0


def test_a_limit_takes_images_of_all_classes_evenly(image_set):
    quality = evaluate(
        model_of(), image_set(90, 0), image_set(40, 1), *samples_of(30), sample_seeds=range(30), limit=20
    )
    assert (quality.train_images, quality.held_out_images) == (20, 20)
    assert quality.recognition is not None
    assert quality.recognition.by_class.keys() == {"0", "1", "2"}


@pytest.mark.parametrize("classes", [0, 3])
def test_without_classes_there_is_nothing_to_recognise(image_set, classes):
    sets = [image_set(count, 0, classes=classes > 0) for count in (90, 40)]
    samples, labels = samples_of(30)
    nothing = torch.full_like(labels, NULL)
    quality = evaluate(model_of(classes), *sets, samples, nothing, sample_seeds=range(30))
    assert quality.recognition is None
    assert quality.diversity == pytest.approx(1, abs=0.15)
    assert quality.to_dict()["recognition"] is None


def test_without_noise_there_is_no_bound_and_an_exact_copy_has_no_finite_psnr(image_set):
    model = model_of(posterior=NoNoise(), autoencoder=PixelsConfig())
    quality = evaluate(model, image_set(90, 0), image_set(40, 1), *samples_of(30), sample_seeds=range(30))
    assert quality.likelihood is None
    assert quality.reconstruction.mse == 0
    assert quality.reconstruction.psnr == math.inf
    assert quality.to_dict()["reconstruction"]["psnr"] is None
    json.dumps(quality.to_dict(), allow_nan=False)


def test_reconstructions_are_close_where_the_autoencoder_is_the_identity(image_set):
    held = image_set(10, 1).images(range(10))
    noisy = reconstruct(
        model_of(posterior=FixedVariance(std=0.1), autoencoder=PixelsConfig()), held, seed=0, batch=3
    )
    assert noisy.dtype == torch.uint8
    assert 8 < (noisy.double() - held.double()).std() < 14


def test_other_classes_and_other_sizes_are_a_sentence(image_set):
    model, train, unseen = model_of(), image_set(90, 0), image_set(40, 1)
    samples, labels = samples_of(30)
    with pytest.raises(ValueError, match="different classes"):
        evaluate(model, train, image_set(40, 1, classes=False), samples, labels, sample_seeds=range(30))
    with pytest.raises(ValueError, match="differ in size"):
        evaluate(model, train, unseen, samples[..., :8], labels, sample_seeds=range(30))
