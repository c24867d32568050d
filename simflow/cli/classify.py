"""``simflow classify RUN``: which class makes an image likeliest? A density as a classifier, by Bayes' rule."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from tyro.conf import arg

from simflow.cli.held_out import held_out
from simflow.cli.shared_arguments import Device, Run, Split, Which
from simflow.cli.talk import talking
from simflow.cli.words import refuse_settings, require_least
from simflow.data.images import ImageSet, tell_skipped
from simflow.data.order import spread
from simflow.distributed import gather_rows, is_main, launch
from simflow.evaluate.draws import drawn
from simflow.files import write_json
from simflow.flow.classify import log_probs_by_class
from simflow.model import Model
from simflow.pipeline import Pipeline
from simflow.seeding import fold


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Classifies images by the class under which the prior finds them likeliest, and prints the accuracy.

    No weight was trained for it. Each class costs one pass through the prior. Latents are drawn with the posterior's
    noise, as in training.
    """

    run: Run
    data: str | None = None
    """Images with their classes; the run's own data if not given."""
    split: Split = None
    num: Annotated[int, arg(aliases=["-n"])] = 1000
    """How many images, spread evenly over the set."""
    draws: int = 1
    """Draws of the noise whose log densities are averaged."""
    out: Path | None = None
    """Also write the figures to this JSON file."""
    seed: int = 0
    """Seed of the noise."""
    which: Which = "ema"
    device: Device = "auto"


def run(arguments: Arguments, settings: Mapping[str, Any]) -> int:
    """Classifies and prints."""
    refuse_settings(settings, "classify")
    require_least(arguments, {"num": 1, "draws": 1})
    with launch(arguments.device) as device, talking():
        pipe = Pipeline.from_pretrained(arguments.run, which=arguments.which).to(device)
        model, names = pipe.model, pipe.model.facts.class_names
        check(model)
        images, called = held_out(pipe.config, arguments.data, arguments.split)
        if images.class_names != names:
            raise ValueError(
                f"the images have the classes {', '.join(images.class_names) or 'none'}, "
                f"and the model knows {', '.join(names)}"
            )
        rows = spread(len(images), arguments.num)
        batch, draws, seed = pipe.config.sample.batch, arguments.draws, arguments.seed
        right = classified(model, images, rows, batch=batch, draws=draws, seed=seed) == images.labels[rows]
        tell_skipped(images)
        if not is_main():
            return 0
    figures = figures_of(right, images.labels[rows], names) | {"draws": draws, "seed": seed, "data": called}
    accuracy, error = figures["accuracy"], figures["standard_error"]
    print(f"{len(rows)} images of {called}: {accuracy:.2%} right (standard error {error:.2%})")
    for name, share in figures["by_class"].items():
        print(f"  {name:<16} {share:.1%}")
    if arguments.out is not None:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        write_json(arguments.out, figures)
    return 0


def check(model: Model) -> None:
    """Refuses models that cannot classify.

    Raises:
        ValueError: the prior has no density, or there are no classes.
    """
    if not model.prior.has_density:
        raise ValueError(f"this model's prior, {type(model.prior).__name__}, has no density to classify by")
    if not model.facts.class_names:
        raise ValueError("this model was trained without classes, so it cannot tell them apart")


@torch.no_grad()
def classified(
    model: Model, images: ImageSet, rows: torch.Tensor, *, batch: int, draws: int, seed: int
) -> torch.Tensor:
    """The likeliest class of each image of these rows, int64 on the CPU; collective."""
    classes = len(model.facts.class_names)
    total = torch.zeros(len(rows), classes, dtype=torch.float64)
    for draw in range(draws):
        own = [torch.zeros(0, classes, dtype=torch.float64)]
        for seen in drawn(model, images, rows, seed=fold(seed, draw), batch=batch):
            own.append(log_probs_by_class(model.prior.log_prob, seen.latents, classes=classes).cpu().double())
        total += gather_rows(torch.cat(own), model.device)
    return total.argmax(dim=1)


def figures_of(right: torch.Tensor, labels: torch.Tensor, names: tuple[str, ...]) -> dict[str, Any]:
    """Accuracy, its standard error by the binomial law, and the accuracy within each class that occurs."""
    accuracy = right.double().mean().item()
    return {
        "accuracy": accuracy,
        "standard_error": (accuracy * (1 - accuracy) / len(right)) ** 0.5,
        "by_class": {
            name: right[labels == label].double().mean().item()
            for label, name in enumerate(names)
            if bool((labels == label).any())
        },
        "images": len(right),
    }
