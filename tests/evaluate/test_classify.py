"""The classifier is scikit-learn's at its defaults, and does as well as it should on the embedded images."""

import pytest
import torch
from sklearn.linear_model import LogisticRegression

from simflow.data import DataConfig, load
from simflow.evaluate.classify import fit, logistic_regression
from simflow.evaluate.features import pooled_pixels


def fashion(name, every=1):
    images = load(DataConfig(path=f"embedded:{name}", image_size=32, channels=1, fit="pad"))
    chosen = range(0, len(images), every)
    return images.images(chosen), images.labels[list(chosen)]


@pytest.fixture(scope="module")
def held_out():
    return fashion("fashion-mnist-heldout")


def test_the_minimum_is_that_of_scikit_learn():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(200) % 4
    means = torch.randn(4, 12, generator=generator, dtype=torch.float64)
    features = means[labels] + torch.randn(200, 12, generator=generator, dtype=torch.float64) + 3
    weight, bias = logistic_regression(features, labels)
    theirs = LogisticRegression(max_iter=5000, tol=1e-10).fit(features.numpy(), labels.numpy())
    torch.testing.assert_close(weight, torch.from_numpy(theirs.coef_.T), atol=1e-4, rtol=1e-4)
    shift = bias - torch.from_numpy(theirs.intercept_)
    torch.testing.assert_close(shift, shift.mean().expand(4), atol=1e-3, rtol=0)


def test_it_agrees_with_scikit_learn_on_real_images(held_out):
    images, labels = fashion("fashion-mnist", every=5)
    ours = fit(images, labels)
    theirs = LogisticRegression(max_iter=3000).fit(pooled_pixels(images).numpy(), labels.numpy())
    predicted = torch.from_numpy(theirs.predict(pooled_pixels(held_out[0]).numpy()))
    assert abs(ours.accuracy(*held_out) - (predicted == held_out[1]).double().mean().item()) <= 0.01
    assert (ours.predict(held_out[0]) == predicted).double().mean() > 0.97


def test_the_embedded_images_are_recognised_five_times_in_six(held_out):
    images, labels = fashion("fashion-mnist")
    classifier = fit(images, labels)
    assert classifier.accuracy(*held_out) == pytest.approx(0.835, abs=0.01)
    by_class = classifier.accuracies(*held_out)
    assert by_class.keys() == set(range(10))
    assert sum(by_class.values()) / 10 == pytest.approx(classifier.accuracy(*held_out))
    assert by_class[1] > 0.9 > 0.7 > by_class[6], "trousers are easy and shirts are hard"


def test_it_is_deterministic_and_works_where_gradients_are_off():
    images, labels = fashion("fashion-mnist", every=40)
    first = fit(images, labels)
    with torch.no_grad():
        second = fit(images, labels)
    assert torch.equal(first.weight, second.weight)
    assert torch.equal(first.bias, second.bias)


@pytest.mark.parametrize("labels", [[0, 1, -1], [2, 2, 2]])
def test_images_without_classes_are_a_sentence(labels):
    with pytest.raises(ValueError, match="a classifier"):
        fit(torch.zeros(3, 1, 4, 4, dtype=torch.uint8), torch.tensor(labels))
