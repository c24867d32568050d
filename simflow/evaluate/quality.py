"""The figures of a finished model, in one record: what the demo prints and a run folder keeps.

Three questions: do the samples look like their class (:mod:`simflow.evaluate.classify`) and vary within it
(:mod:`simflow.evaluate.diversity`); what survives the journey through the latents
(:mod:`simflow.evaluate.reconstruction`); how many bits does an unseen image cost
(:mod:`simflow.evaluate.likelihood`). None needs a downloaded network. Small differences mean little: the
classifier is a crude judge, and so are distances of pixels.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from simflow.data import ImageSet
from simflow.evaluate.classify import Recognition, fit
from simflow.evaluate.diversity import diversity
from simflow.evaluate.features import pool_for, pooled_pixels
from simflow.evaluate.likelihood import Likelihood, elbo_bits
from simflow.evaluate.reconstruction import Reconstruction, compare
from simflow.model import Model
from simflow.pixels import Bytes, to_float, to_uint8
from simflow.posterior import NoNoise
from simflow.seeding import generator
from simflow.shapes import NULL, Labels


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Figures of one model and one set of samples."""

    recognition: Recognition | None
    """Whether a classifier recognises the samples; None without classes."""
    diversity: float
    """Distances of pooled pixels within a class, of samples over those of training images; 1 is as varied."""
    reconstruction: Reconstruction
    """Of held-out images."""
    likelihood: Likelihood | None
    """The ELBO on held-out images; None for a posterior without noise."""
    samples: int
    """Number of samples judged."""
    train_images: int
    """Number of training images used."""
    held_out_images: int
    """Number of held-out images used."""
    seed: int
    """Of the draws of the latents."""
    sample_seeds: tuple[int, ...]
    """Of the samples."""

    def to_dict(self) -> dict[str, Any]:
        """Nested as the record is, for JSON; an infinite PSNR becomes None."""
        tree = dataclasses.asdict(self)
        if not math.isfinite(self.reconstruction.psnr):
            tree["reconstruction"]["psnr"] = None
        return tree


def evaluate(
    model: Model,
    train: ImageSet,
    held_out: ImageSet,
    samples: Bytes,
    labels: Labels,
    *,
    sample_seeds: Sequence[int],
    seed: int = 0,
    batch: int = 256,
    limit: int = 10_000,
) -> Quality:
    """All the figures.

    Args:
        model: in eval mode, with the weights to be judged.
        train: what it was trained on.
        held_out: what it was not trained on, with the same classes; at least two images.
        samples: ``(b, channels, height, width)``, of the model.
        labels: the class that each was asked for; if one is ``NULL``, classes are left out of account.
        sample_seeds: the seed of each.
        seed: of the draws of the latents.
        batch: images at once; it changes which noise an image gets.
        limit: of each image set, this many images spread evenly over it are used.

    Raises:
        ValueError: the image sets have different classes, the samples are of another size, or there are too
            few images or samples (see :mod:`simflow.evaluate.diversity`).
    """
    if train.class_names != held_out.class_names:
        raise ValueError("the training images and the held-out images have different classes")
    seen, seen_labels = train.some(limit)
    unseen, unseen_labels = held_out.some(limit)
    if not seen.shape[1:] == unseen.shape[1:] == samples.shape[1:]:
        raise ValueError(
            f"training images {tuple(seen.shape[1:])}, held-out images {tuple(unseen.shape[1:])} and samples "
            f"{tuple(samples.shape[1:])} (channels, height, width) differ in size"
        )
    assert len(samples) == len(labels) == len(sample_seeds)
    samples, labels = samples.cpu(), labels.cpu()
    pool = pool_for(train.image_size)
    groups, seen_groups, recognition = labels, seen_labels, None
    if len(train.class_names) > 1 and int(labels.min()) != NULL:
        classifier = fit(seen, seen_labels, pool=pool)
        shares = classifier.accuracies(samples, labels)
        recognition = Recognition(
            samples=classifier.accuracy(samples, labels),
            real=classifier.accuracy(unseen, unseen_labels),
            by_class={train.class_names[label]: share for label, share in shares.items()},
        )
    else:
        groups, seen_groups = torch.full_like(labels, NULL), torch.full_like(seen_labels, NULL)
    return Quality(
        recognition=recognition,
        diversity=diversity(
            pooled_pixels(samples, pool=pool), groups, pooled_pixels(seen, pool=pool), seen_groups
        ),
        reconstruction=compare(unseen, reconstruct(model, unseen, seed=seed, batch=batch)),
        likelihood=(
            None
            if isinstance(model.posterior, NoNoise)
            else elbo_bits(model, seen, unseen, unseen_labels, seed=seed, batch=batch)
        ),
        samples=len(samples),
        train_images=len(seen),
        held_out_images=len(unseen),
        seed=seed,
        sample_seeds=tuple(sample_seeds),
    )


@torch.no_grad()
def reconstruct(model: Model, images: Bytes, *, seed: int, batch: int = 256) -> Bytes:
    """Images -> a draw of their latents -> images, as bytes on the CPU."""
    draws = generator(seed, "reconstruct", device=model.device)
    return torch.cat(
        [
            to_uint8(model.decode(model.encode(to_float(part.to(model.device)), draws))).cpu()
            for part in images.split(batch)
        ]
    )
