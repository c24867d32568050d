"""``simflow info RECIPE|RUN``: how large a model is, what its latents are, and how far a run has come."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import Any

from tyro.conf import Positional

from simflow import extend, pretrained, recipes
from simflow.cli.describe import lines_of
from simflow.cli.resolve import resolve
from simflow.cli.words import refuse_settings
from simflow.config import RunConfig, from_record
from simflow.explain import Setting, explained, explained_part
from simflow.places import find
from simflow.records import leaves
from simflow.report.results import of_evaluation
from simflow.train import checkpoint
from simflow.train.optim import total_steps


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Prints parameter counts, latents and image size of a recipe or a run; of a run also how far it is.

    Nothing is allocated, so the largest recipes can be asked for on any machine. A recipe's settings can be
    changed by dotted flags: ``simflow info simflow-b --data.image_size 512``. ``--explain`` lists all those flags.
    """

    what: Positional[str]
    """A recipe's name or function (``mine.py:laplace``), or a run, checkpoint or saved model: a folder, the name of a
    model that comes with the package, or ``owner/name`` on the hub. A name of both a recipe and a model of the package
    means the model, with flags the recipe."""
    explain: bool = False
    """List every setting of it instead: its flag, its value, what else may stand there, and what it is for."""


def run(arguments: Arguments, settings: Mapping[str, Any]) -> int:
    """Prints the lines."""
    shipped = pretrained.find(arguments.what)
    a_recipe = arguments.what in recipes.recipes() and (shipped is None or bool(settings))
    if a_recipe or not (shipped or looks_like_a_place(arguments.what)):
        folder, config = None, resolve(recipes.get(arguments.what), settings)
        facts = config.expected_facts()
    else:
        refuse_settings(settings, "info RUN")
        folder = find(arguments.what)
        config, facts = from_record(checkpoint.load_config(folder))
    if arguments.explain:
        print("\n".join(flags_of(config)))
        return 0
    if folder is None:
        print("\n".join([f"recipe       {config.name}", *lines_of(config, facts)]))
        return 0
    lines = [f"run          {config.name}", f"weights      {folder}", *lines_of(config, facts)]
    lines.append(f"data         {config.data.path}")
    if folder == shipped:
        lines.append(f"card         {folder / 'README.md'}")
    if (folder / "state.json").is_file():
        state = checkpoint.load_record(folder)
        lines.append(f"step         {state['step']} of {total_steps(config.train.stages)}")
        lines.append(f"images seen  {state['images_seen']}")
    print("\n".join([*lines, *figures_of(Path(arguments.what))]))
    return 0


def flags_of(config: RunConfig) -> Iterator[str]:
    """Each setting as its flag, and below it what it is for; of an empty slot also those of what may stand there."""
    for setting in explained(config):
        yield from lines_for(setting, " | ".join(setting.choices))
        for part in setting.parts if setting.value is None else ():
            for inner in explained_part(part, setting.path.removesuffix("type")):
                yield from lines_for(inner, f"of {part.__name__}")


def lines_for(setting: Setting, note: str) -> Iterator[str]:
    """A flag with its value and a note, and what it is for; null, as flags have it, where Python has None."""
    yield f"--{setting.path} {json.dumps(setting.value, default=str)}{f'    ({note})' if note else ''}"
    text = re.sub(r"\bNone\b", "null", setting.text)
    yield from wrap(text, 112, initial_indent="    ", subsequent_indent="    ")


def looks_like_a_place(what: str) -> bool:
    """Whether a word means a folder or a model on the hub rather than a recipe."""
    return Path(what).exists() or ("/" in what and not extend.names_function(what))


def figures_of(run: Path) -> list[str]:
    """The lines of a run's ``figures.json``, if it was evaluated."""
    file = run / "figures.json"
    if not file.is_file():
        return []
    record = checkpoint.read_json(file)
    figures = [(each.name, each.value) for each in of_evaluation(file.stem, record)]
    lines = [
        f"  {name:<36} {value:.4g}" if isinstance(value, float) else f"  {name:<36} {value}"
        for name, value in [*figures, *leaves(record.get("cost", {}))]
    ]
    return ["figures", *lines] if lines else []
