"""Pictures of how samples come about: through the blocks, before and after the score step, under more guidance.

Each shows the same few seeds again and again, so that what is seen is the change.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from PIL import Image

from simflow.cli.pictures import COLUMNS
from simflow.export import enlargement, labelled_grid, pairs_grid
from simflow.model import Model
from simflow.sample import Rule, SampleConfig, sample_all, trajectory

PAIRS = 4 * COLUMNS
"""Most images that are shown before and after the score step."""


def through_the_blocks(
    model: Model, seeds: Sequence[int], labels: Sequence[int], config: SampleConfig
) -> Image.Image:
    """Noise in the first row, then what each undone block makes of it; the last row is the sample, refined if asked.

    Raises:
        ValueError: the prior does not make its samples block by block.
    """
    states = trajectory(model, seeds=seeds[:COLUMNS], labels=labels[:COLUMNS], config=config)
    return labelled_grid(states, scale=enlargement(model.facts.image_size))


def before_and_after(
    model: Model, seeds: Sequence[int], labels: Sequence[int], config: SampleConfig
) -> Image.Image:
    """Each sample above itself after the score step."""
    plain = replace(config, refinement=None)
    before, after = (
        sample_all(model, seeds=seeds[:PAIRS], labels=labels[:PAIRS], config=c) for c in (plain, config)
    )
    return pairs_grid(before, after, columns=COLUMNS, scale=enlargement(model.facts.image_size))


def guidance_sweep(
    model: Model,
    seeds: Sequence[int],
    labels: Sequence[int],
    config: SampleConfig,
    rules: Mapping[float, Rule | None],
) -> Image.Image:
    """A row for each strength of guidance."""
    rows = {}
    for weight, rule in rules.items():
        guided = replace(config, guidance=rule)
        rows[f"guidance {weight:g}"] = sample_all(
            model, seeds=seeds[:COLUMNS], labels=labels[:COLUMNS], config=guided
        )
    return labelled_grid(rows, scale=enlargement(model.facts.image_size))
