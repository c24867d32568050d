"""From a recipe's name, a settings file and flags to one configuration; later words win.

The order is: recipe, ``--config`` file, dotted flags, then the shortcuts ``--data``, ``--name``, ``--steps`` and
``--start_from``.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from simflow import recipes
from simflow.config import RunConfig, from_record
from simflow.recipes.after import Stage, after
from simflow.settings import override, parse_count, to_dict
from simflow.start import StartFrom, is_autoencoder, place
from simflow.train import checkpoint
from simflow.weights import weights_in
from simflow.yaml_text import load_yaml


def resolve(
    start: RunConfig,
    settings: Mapping[str, Any],
    *,
    file: Path | None = None,
    data: str | None = None,
    name: str | None = None,
    steps: str | None = None,
    start_from: str | None = None,
) -> RunConfig:
    """The configuration that a command means.

    Raises:
        ValueError: an unknown setting or a value that does not fit.
    """
    config = start if file is None else override(start, settings_in(file))
    config = override(config, settings)
    if data is not None:
        config = replace(config, data=replace(config.data, path=data))
    if name is not None:
        config = replace(config, name=name)
    if steps is not None:
        config = config.with_steps(parse_count(steps))
    if start_from == "null":
        config = replace(config, start_from=None)
    elif start_from is not None:
        config = replace(config, start_from=replace(config.start_from or StartFrom(), path=start_from))
    return config


def settings_in(file: Path) -> dict[str, Any]:
    """The settings in a file of settings, or in the ``config.json`` of a run.

    Raises:
        ValueError: no such file, or it holds something else.
    """
    found = load_yaml(file)
    if found.keys() == {"config", "facts"}:
        return to_dict(from_record(found)[0])
    return found


def start_of(
    recipe: str | None, run: Path | None, stage: Stage | None = None, source: str | None = None
) -> RunConfig:
    """The configuration to begin with: a recipe's, that of a run that is to go on, or that of the ``stage`` which
    follows the run or model ``source``.

    Raises:
        ValueError: none of them is given, or more than one; no such recipe, or its file cannot be imported; no
            checkpoint in the run's folder; or as :func:`following`.
    """
    if recipe is not None and run is not None:
        raise ValueError("give either a recipe or --resume, for a resumed run has its own settings")
    if stage is not None:
        if recipe is not None or run is not None:
            other = "a recipe" if run is None else "--resume"
            raise ValueError(f"give either {other} or --next, which has the settings of --start_from")
        return following(stage, source)
    if recipe is not None:
        return recipes.get(recipe)
    if run is None:
        few = ", ".join(list(recipes.recipes())[:9])
        raise ValueError(f"say which recipe to train: {few}, ...; simflow recipes lists all")
    checkpoint.find(run)
    return from_record(checkpoint.load_config(run))[0]


def following(stage: Stage, source: str | None) -> RunConfig:
    """The configuration of the stage that follows a run or a saved model.

    Raises:
        ValueError: none is named, or there is none; or it has nothing that this stage could teach.
    """
    if source is None or source == "null":
        raise ValueError(f"say with --start_from which run or model --next {stage} follows")
    path = place(StartFrom(path=source))
    if is_autoencoder(path):
        raise ValueError(f"'{path}' holds an autoencoder only: --next {stage} follows a run or a saved model")
    run, _ = from_record(checkpoint.load_config(weights_in(path)))
    return after(run, stage)
