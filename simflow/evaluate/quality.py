"""The figures of a finished model, in one record: what the demo prints and keeps as ``figures.json``.

Three questions, answered by the parts of ``simflow evaluate`` that need no downloaded network: do the samples look like
their class and vary within it (:func:`simflow.evaluate.protocol.classes`); what survives the journey through the
latents (:mod:`simflow.evaluate.fidelity`); how many bits does an unseen image cost (:mod:`simflow.evaluate.scores`).
Small differences mean little: the classifier is a crude judge, and so are distances of pixels.
"""

from dataclasses import asdict
from typing import Any

from simflow.data.order import spread
from simflow.evaluate.collect import Pictures
from simflow.evaluate.fidelity import pixels_of, reconstruct
from simflow.evaluate.figures import finite
from simflow.evaluate.protocol import classes
from simflow.evaluate.reconstruction import compare
from simflow.evaluate.scores import bound, no_bound
from simflow.model import Model


def evaluate(
    model: Model,
    train: Pictures,
    held: Pictures,
    samples: Pictures,
    *,
    seed: int = 0,
    batch: int = 100,
    limit: int = 10_000,
) -> dict[str, Any]:
    """All the figures, for JSON; collective.

    Args:
        model: in eval mode, with the weights to be judged.
        train: what it was trained on.
        held: what it was not trained on; at least two images.
        samples: of the model; the labels are the classes that were asked for, and if one is ``NULL``, classes are left
            out of account.
        seed: of the draws of the latents.
        batch: images at once.
        limit: of each image set, this many images spread evenly over it are used.

    Returns:
        ``recognition``: accuracies on samples and real (held-out) images, and on the samples of each class; None
        without classes. ``diversity``: 1 is as varied within a class as training images. ``reconstruction`` of held-out
        images; an infinite PSNR is None. ``likelihood`` of held-out images with the ``decoder_variance``; None where
        there is no bound. Then how many images of each kind were used, and the seed.

    Raises:
        ValueError: the image sets have different classes or sizes, or there are too few images or samples (see
            :mod:`simflow.evaluate.diversity`).
    """
    if not train.class_names == held.class_names == samples.class_names:
        raise ValueError("the training images, the held-out images and the samples have different classes")
    sizes = [tuple(pictures.images([0]).shape[1:]) for pictures in (train, held, samples)]
    if len(set(sizes)) > 1:
        raise ValueError(
            f"training images {sizes[0]}, held-out images {sizes[1]} and samples {sizes[2]} "
            "(channels, height, width) differ in size"
        )
    by_class, _ = classes(samples, train, held, limit=limit)
    assert by_class is not None, "the classes are the same"
    numbers = spread(len(held), limit)
    rebuilt = reconstruct(model, held, numbers, seed=seed, batch=batch)
    likelihood = None
    if no_bound(model) is None:
        found, variance = bound(model, train, held, numbers, seed=seed, batch=batch, train_images=limit)
        likelihood = found.summary() | {"decoder_variance": variance}
    recognition = None
    if by_class["accuracy"] is not None:
        recognition = {
            "samples": by_class["accuracy"],
            "real": by_class["accuracy_of_held_out"],
            "by_class": by_class["by_class"],
        }
    record = {
        "recognition": recognition,
        "diversity": by_class["diversity"],
        "reconstruction": asdict(compare(pixels_of(held, numbers), rebuilt.pixels)),
        "likelihood": likelihood,
        "samples": by_class["samples"],
        "train_images": by_class["real"],
        "held_out_images": len(numbers),
        "seed": seed,
    }
    return finite(record)
