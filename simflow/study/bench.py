"""The judges of a study, made once and shown every run: real images as they see them, and the judges themselves.

Looking at five thousand real images takes longer than most of the rest, so it is done once a process. What the judges
say of *real* images goes beside the table: the Fréchet distance of real images from real images (no model can be
expected to pass it) and the accuracy on held-out ones.
"""

from dataclasses import dataclass
from typing import Any

from jaxtyping import Int
from torch import Tensor

from simflow.data.images import ImageSet
from simflow.data.order import spread
from simflow.evaluate.choose import choose
from simflow.evaluate.collect import Collected, Held
from simflow.evaluate.desk import Desk, looked_at
from simflow.evaluate.extractors import Extractor
from simflow.evaluate.fidelity import taken
from simflow.evaluate.generation import frechet_floor, halves, require_enough
from simflow.evaluate.lpips import Judge, judge
from simflow.evaluate.recognition import Recogniser, fitted_to
from simflow.evaluate.reference import describe
from simflow.frechet import Gaussian
from simflow.study.budget import Budget

VARIANCE = 1000
"""Training images that the decoder's variance in the ELBO is measured on."""


@dataclass(frozen=True, kw_only=True)
class Eyes:
    """An extractor with what it saw of real images."""

    extractor: Extractor
    reference: Gaussian
    """Of training images."""
    originals: Collected
    """Of the held-out images that are reconstructed."""
    floor: float | None
    """The Fréchet distance of some training images from the others."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Real images and judges; the same for all runs of a study."""

    held: ImageSet
    numbers: Int[Tensor, " held"]
    """Of the held-out images that are reconstructed and coded."""
    originals: Held
    some: Held
    """Training images for the ELBO's variance."""
    eyes: Eyes | None
    recogniser: Recogniser
    perceptual: Judge | None
    record: dict[str, Any]
    """What is said of real images, for JSON."""


def prepare(train: ImageSet, held: ImageSet, called: str, budget: Budget, desk: Desk) -> Bench:
    """Makes the judges; collective.

    Raises:
        ValueError: there are too few images for a Fréchet distance.
    """
    numbers = spread(len(held), budget.held_out)
    originals = taken(held, numbers)
    known, left_out = choose(budget.extractor)
    eyes = look(known[0], train, originals, budget, desk) if known else None
    recogniser = fitted_to(train)
    alike = held.class_names == train.class_names
    record: dict[str, Any] = {
        "training_images": len(train),
        "held_out": called,
        "held_out_are_training_images": held.fingerprint == train.fingerprint,
        "reconstructed": len(numbers),
        "compared_with": min(len(train), budget.reference_num),
        "extractor": None if eyes is None else describe(eyes.extractor.identity),
        "frechet": None if eyes is None else eyes.extractor.identity.frechet,
        "floor": None if eyes is None else eyes.floor,
        "accuracy": recogniser.accuracy(originals.pixels, originals.labels) if alike else None,
        "left_out": left_out,
    }
    perceptual = judge("squeezenet")
    assert perceptual is not None
    record["perceptual"] = {"name": perceptual.name} | perceptual.identity
    return Bench(
        held=held,
        numbers=numbers,
        originals=originals,
        some=taken(train, spread(len(train), VARIANCE)),
        eyes=eyes,
        recogniser=recogniser,
        perceptual=perceptual,
        record=record,
    )


def look(extractor: Extractor, train: ImageSet, originals: Held, budget: Budget, desk: Desk) -> Eyes:
    """What the extractor sees of the real images.

    Raises:
        ValueError: there are too few.
    """
    identity = extractor.identity
    chosen = spread(len(train), budget.reference_num)
    require_enough(identity, min(budget.num, len(originals)), len(chosen))
    extractor.to(desk.device)
    real = looked_at(extractor, taken(train, chosen), f"{identity.name}, training images", desk)
    rebuilt = looked_at(extractor, originals, f"{identity.name}, held-out images", desk)
    floor = frechet_floor(halves(real.features, budget.num, seed=desk.seed))
    return Eyes(extractor=extractor, reference=real.moments.gaussian(), originals=rebuilt, floor=floor)
