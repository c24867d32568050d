"""The record is made of the figures of the other files, and survives JSON."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch

from simflow.autoencoder.compact import CompactConfig
from simflow.autoencoder.pixels import PixelsConfig
from simflow.data import DataConfig, load
from simflow.evaluate.classify import fit
from simflow.evaluate.collect import Held
from simflow.evaluate.diversity import diversity
from simflow.evaluate.features import pooled_pixels
from simflow.evaluate.fidelity import reconstruct
from simflow.evaluate.quality import evaluate
from simflow.evaluate.reconstruction import compare
from simflow.evaluate.scores import bound
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


def samples_of(count, seed=7, classes=3):
    images, labels = arrays(count, seed)
    names = tuple(str(label) for label in range(classes))
    return Held(pixels=torch.from_numpy(images)[:, None], labels=torch.from_numpy(labels), class_names=names)


def test_every_figure_is_that_of_its_own_file(image_set):
    model, train, unseen, samples = model_of(), image_set(90, 0), image_set(40, 1, wrong=4), samples_of(30)
    samples.labels[0] = 1  # one sample of class 0 was asked for as class 1
    quality = evaluate(model, train, unseen, samples)
    everything = torch.arange(40)
    real, held = train.images(range(90)), unseen.images(range(40))
    recognition = quality["recognition"]
    assert recognition["samples"] == pytest.approx(29 / 30)
    assert recognition["real"] == fit(real, train.labels).accuracy(held, unseen.labels) == 0.9
    assert recognition["by_class"] == pytest.approx({"0": 1, "1": 10 / 11, "2": 1})
    pooled = pooled_pixels(samples.pixels), samples.labels, pooled_pixels(real), train.labels
    assert quality["diversity"] == pytest.approx(diversity(*pooled)) != 1
    rebuilt = reconstruct(model, unseen, everything, seed=0)
    assert quality["reconstruction"] == asdict(compare(held, rebuilt.pixels))
    scores, variance = bound(model, train, unseen, everything, seed=0)
    assert quality["likelihood"] == scores.summary() | {"decoder_variance": variance}
    assert [quality[kind] for kind in ("samples", "train_images", "held_out_images")] == [30, 90, 40]


def test_it_is_deterministic_and_survives_json(image_set):
    sets = model_of(), image_set(90, 0), image_set(40, 1), samples_of(30)
    first, again, other = (evaluate(*sets, seed=seed) for seed in (0, 0, 1))
    assert first == again != other
    assert json.loads(json.dumps(first, allow_nan=False)) == first
    assert (first["seed"], other["seed"]) == (0, 1)


def test_the_batch_changes_nothing_but_rounding(image_set):
    sets = model_of(), image_set(90, 0), image_set(40, 1), samples_of(30)
    one, other = (evaluate(*sets, batch=batch) for batch in (7, 64))
    for part in ("reconstruction", "likelihood"):
        assert one[part] == pytest.approx(other[part], rel=1e-4)
    assert [one[part] for part in ("recognition", "diversity")] == [other["recognition"], other["diversity"]]


def test_a_limit_takes_images_of_all_classes_evenly(image_set):
    quality = evaluate(model_of(), image_set(90, 0), image_set(40, 1), samples_of(30), limit=20)
    assert [quality[kind] for kind in ("samples", "train_images", "held_out_images")] == [20, 20, 20]
    assert quality["likelihood"]["images"] == 20
    assert quality["recognition"]["by_class"].keys() == {"0", "1", "2"}


@pytest.mark.parametrize("classes", [0, 3])
def test_without_classes_there_is_nothing_to_recognise(image_set, classes):
    sets = [image_set(count, 0, classes=classes > 0) for count in (90, 40)]
    samples = samples_of(30, classes=classes)
    samples.labels[:] = NULL
    quality = evaluate(model_of(classes), *sets, samples)
    assert quality["recognition"] is None
    assert quality["diversity"] == pytest.approx(1, abs=0.15)


def test_without_noise_there_is_no_bound_and_an_exact_copy_has_no_finite_psnr(image_set):
    model = model_of(posterior=NoNoise(), autoencoder=PixelsConfig())
    quality = evaluate(model, image_set(90, 0), image_set(40, 1), samples_of(30))
    assert quality["likelihood"] is None
    assert quality["reconstruction"]["mse"] == 0
    assert quality["reconstruction"]["psnr"] is None
    json.dumps(quality, allow_nan=False)


def test_reconstructions_are_close_where_the_autoencoder_is_the_identity(image_set):
    unseen = image_set(10, 1)
    model = model_of(posterior=FixedVariance(std=0.1), autoencoder=PixelsConfig())
    noisy = reconstruct(model, unseen, torch.arange(10), seed=0, batch=3).pixels
    assert noisy.dtype == torch.uint8
    assert 8 < (noisy.double() - unseen.images(range(10)).double()).std() < 14


def test_other_classes_and_other_sizes_are_a_sentence(image_set):
    model, train, unseen, samples = model_of(), image_set(90, 0), image_set(40, 1), samples_of(30)
    with pytest.raises(ValueError, match="different classes"):
        evaluate(model, train, image_set(40, 1, classes=False), samples)
    narrow = Held(pixels=samples.pixels[..., :8], labels=samples.labels, class_names=samples.class_names)
    with pytest.raises(ValueError, match="differ in size"):
        evaluate(model, train, unseen, narrow)
