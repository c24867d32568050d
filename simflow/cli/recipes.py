"""``simflow recipes``: the list, and the trained models that come with the package."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from simflow import pretrained, recipes, weights
from simflow.cli.words import refuse_settings


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Lists the recipes with the first line of what each says of itself, then the trained models in the package.

    ``simflow info RECIPE`` says how large its model is, ``simflow train RECIPE --dry-run`` all its settings. A function
    in a file or a module of your own is named as ``mine.py:laplace`` or ``package.module:laplace``. A trained model is
    used by its name wherever a run is asked for, such as ``simflow sample MODEL``.
    """


def run(arguments: Arguments, settings: Mapping[str, Any]) -> int:
    """Prints one line a recipe, and one a model."""
    refuse_settings(settings, "recipes")
    known = recipes.recipes()
    width = max(map(len, known))
    for name, recipe in known.items():
        print(f"{name:<{width}}  {(recipe.__doc__ or '').strip().splitlines()[0].replace('``', '')}")
    for line in models(width):
        print(line)
    print("\na recipe of your own, a function in a file or a module: simflow train mine.py:laplace")
    return 0


def models(width: int) -> Iterator[str]:
    """The lines on the models that come with the package, names ``width`` wide; none if there are no models."""
    names = pretrained.names()
    if names:
        yield "\ntrained, in the package, without a network (simflow sample MODEL):"
    for name in names:
        size = sum(path.stat().st_size for path in weights.files(pretrained.root() / name))
        yield f"{name:<{width}}  {pretrained.summary(name)} ({size / 1e6:.1f} MB)"
