"""``simflow classify``: the class of the greatest density, counted against the true one."""

import json

import pytest
import torch

from simflow.cli import main
from simflow.cli.classify import classified, figures_of
from simflow.cli.held_out import held_out
from simflow.data.order import spread
from simflow.evaluate.scores import score
from simflow.pipeline import Pipeline
from simflow.posterior import FixedVariance
from simflow.shapes import NULL
from tests.whole.tiny import CLASSES, words


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    """A pixel flow that has seen the tiny set long enough to know where the bright bar of each class is."""
    folder = tmp_path_factory.mktemp("learnt")
    pixels = ["--model.autoencoder", "PixelsConfig", "--model.posterior.std", "0.3"]
    pixels += ["--model.prior.patch", "4", "--objective.reconstruction", "{type: PixelMean, weight: 0}"]
    length = ["--steps", "100", "--train.optimizer.lr", "1e-2", "--train.batch", "24"]
    assert main([*words(folder), *pixels, *length, "--out", str(folder / "run")]) == 0
    return folder / "run"


def test_it_tells_the_classes_of_unseen_images(learnt, tmp_path, capsys):
    out = tmp_path / "new" / "figures.json"
    given = ["classify", str(learnt), "--num", "9", "--draws", "2", "--out", str(out), "--device", "cpu"]
    assert main(given) == 0
    printed = capsys.readouterr().out
    figures = json.loads(out.read_text())
    assert figures["accuracy"] > 0.8
    assert f"9 images of {figures['data']}: {figures['accuracy']:.2%} right" in printed
    assert list(figures["by_class"]) == list(CLASSES)
    assert figures["images"] == 9


def test_the_images_are_chosen_by_parts_and_not_at_a_stride(learnt, monkeypatch):
    """Images often come with their classes in turn; a fixed stride could meet one class alone."""
    seen = []

    def right(model, images, rows, **_):
        seen.append((len(images), rows))
        return images.labels[rows]

    monkeypatch.setattr("simflow.cli.classify.classified", right)
    assert main(["classify", str(learnt), "--num", "4", "--device", "cpu"]) == 0
    total, rows = seen[0]
    assert torch.equal(rows, spread(total, 4))


def test_the_class_is_that_of_the_greatest_density(learnt):
    pipe = Pipeline.from_pretrained(learnt)
    images, _ = held_out(pipe.config, None, None)
    rows = torch.tensor([0, 5, 11])
    found = classified(pipe.model, images, rows, batch=2, draws=40, seed=0)
    latents = [
        pipe.encode(images.images(rows), generator=torch.Generator().manual_seed(k)) for k in range(40)
    ]
    densities = [sum(pipe.log_prob(x, [name] * 3) for x in latents) for name in CLASSES]
    assert torch.equal(found, torch.stack(densities).argmax(dim=0))


def test_what_is_found_does_not_depend_on_the_batch_but_on_the_seed(learnt):
    """By images that are mostly noise, so that another draw would often give another class."""
    pipe = Pipeline.from_pretrained(learnt)
    pipe.model.posterior = FixedVariance(std=3.0)
    images, _ = held_out(pipe.config, None, None)
    rows = torch.arange(12)
    alone, together, other = (
        classified(pipe.model, images, rows, batch=batch, draws=2, seed=seed)
        for batch, seed in ((1, 0), (12, 0), (12, 1))
    )
    assert torch.equal(alone, together)
    assert not torch.equal(together, other)
    twice = [classified(pipe.model, images, rows, batch=12, draws=draws, seed=0) for draws in (1, 2)]
    assert not torch.equal(*twice), "a second draw is another one"


def test_figures():
    figures = figures_of(torch.tensor([True, False, True, True]), torch.tensor([0, 0, 2, 2]), CLASSES)
    assert figures["accuracy"] == 0.75
    assert figures["standard_error"] == pytest.approx((0.75 * 0.25 / 4) ** 0.5)
    assert figures["by_class"] == {"bag": 0.5, "coat": 1.0}


def test_what_cannot_be_classified(learnt, tmp_path, capsys):
    other = learnt.parent / "pictures" / "train" / "boot"
    assert main(["classify", str(learnt), "--data", str(other)]) == 2
    assert "the images have the classes none, and the model knows bag, boot, coat" in capsys.readouterr().err
    assert main(["classify", str(learnt), "--num", "0"]) == 2
    assert "--num must be at least 1, not 0" in capsys.readouterr().err
    run = tmp_path / "run"
    assert main([*words(tmp_path), "--out", str(run), "--objective.label_drop", "1"]) == 0
    assert main(["classify", str(run)]) == 2
    assert "trained without classes" in capsys.readouterr().err


def test_the_likelihood_of_a_model_without_classes_knows_no_labels(tmp_path):
    """Every label was dropped in training, so the labels of the images that are judged mean nothing."""
    run = tmp_path / "run"
    dropped = ["--objective.label_drop", "1", "--model.posterior", "Dequantised"]
    dropped += ["--model.autoencoder", "PixelsConfig", "--model.prior.patch", "4"]
    dropped += ["--objective.reconstruction", "{type: PixelMean, weight: 0}"]
    assert main([*words(tmp_path), "--out", str(run), *dropped]) == 0
    pipe = Pipeline.from_pretrained(run)
    images, _ = held_out(pipe.config, None, None)
    numbers, null = torch.arange(12), torch.full((12,), NULL)
    own = images.labels[numbers]
    with_labels, without = (
        score(pipe.model, images, numbers, labels, variance=None, seed=0) for labels in (own, null)
    )
    assert int(own.max()) == 2
    assert torch.equal(with_labels.bits, without.bits)
