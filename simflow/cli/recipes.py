"""``simflow recipes``: the list."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from simflow import recipes
from simflow.cli.words import refuse_settings


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Lists the recipes with the first line of what each says of itself.

    ``simflow info RECIPE`` says how large its model is, ``simflow train RECIPE --dry-run`` all its settings.
    """


def run(arguments: Arguments, settings: Mapping[str, Any]) -> int:
    """Prints one line a recipe."""
    refuse_settings(settings, "recipes")
    known = recipes.recipes()
    width = max(map(len, known))
    for name, recipe in known.items():
        print(f"{name:<{width}}  {(recipe.__doc__ or '').strip().splitlines()[0].replace('``', '')}")
    return 0
