"""Recipes: functions that give a whole :class:`~simflow.config.RunConfig`, and the list of them.

To add one: write the function in a file of this folder, its docstring holding the command, the cost and the
expected result, and name it in :func:`recipes`. A variant of another recipe is a ``replace`` of its fields. A recipe
may also be in a file or a module of your own: it goes by ``mine.py:laplace`` or ``package.module:laplace``.
"""

from collections.abc import Callable
from difflib import get_close_matches
from typing import TYPE_CHECKING

from simflow import extend

if TYPE_CHECKING:
    from simflow.config import RunConfig

    Recipe = Callable[[], RunConfig]


def recipes() -> "dict[str, Recipe]":
    """All recipes by name, small ones first, the paper's tables last; the files are imported when this is called."""
    from simflow.recipes import demo, emoji, natural, shipped, simflow, starflow, tables, tarflow

    return {
        "demo": demo.demo,
        "small-32": demo.small_32,
        "small-64": demo.small_64,
        "tuned-32": emoji.tuned_32,
        "tuned-64": emoji.tuned_64,
        "fashion-32": shipped.fashion_32,
        "fashion-32-prior": shipped.fashion_32_prior,
        "fashion-32-decoder": shipped.fashion_32_decoder,
        "fashion-32-frechet": shipped.fashion_32_frechet,
        "emoji-32": emoji.emoji_32,
        "emoji-32-prior": emoji.emoji_32_prior,
        "emoji-32-decoder": emoji.emoji_32_decoder,
        "emoji-32-frechet": emoji.emoji_32_frechet,
        "emoji-64": emoji.emoji_64,
        "emoji-64-decoder": emoji.emoji_64_decoder,
        "emoji-64-finer": emoji.emoji_64_finer,
        "emoji-64-frechet": emoji.emoji_64_frechet,
        "emoji-64-joint": emoji.emoji_64_joint,
        "emoji-64-joint-decoder": emoji.emoji_64_joint_decoder,
        "natural-32": natural.natural_32,
        "natural-32-prior": natural.natural_32_prior,
        "natural-32-frechet": natural.natural_32_frechet,
        "natural-32-tarflow": natural.natural_32_tarflow,
        "clothing-256": shipped.clothing_256,
        "clothing-256-decoder": shipped.clothing_256_decoder,
        "clothing-256-prior": shipped.clothing_256_prior,
        "tarflow-fashion": tarflow.tarflow_fashion,
        "tarflow-fashion-likelihood": tarflow.tarflow_fashion_likelihood,
        "tarflow-mnist": tarflow.tarflow_mnist,
        "autoencoder-fashion": starflow.autoencoder_fashion,
        "starflow-fashion": starflow.starflow_fashion,
        "starflow-fashion-decoder": starflow.starflow_fashion_decoder,
        "simflow-s": simflow.simflow_s,
        "simflow-b": simflow.simflow_b,
        "simflow-l": simflow.simflow_l,
        "simflow-xl": simflow.simflow_xl,
        "simflow-xxl": simflow.simflow_xxl,
        "simflow-xxl-512": simflow.simflow_xxl_512,
        "simflow-b-repa": simflow.simflow_b_repa,
        "simflow-xxl-repa": simflow.simflow_xxl_repa,
        "simflow-xxl-512-repa": simflow.simflow_xxl_512_repa,
        "tarflow-imagenet64": tarflow.tarflow_imagenet64,
        "tarflow-imagenet64-wide": tarflow.tarflow_imagenet64_wide,
        "tarflow-imagenet64-coarse": tarflow.tarflow_imagenet64_coarse,
        "tarflow-imagenet64-unconditional": tarflow.tarflow_imagenet64_unconditional,
        "tarflow-imagenet64-likelihood": tarflow.tarflow_imagenet64_likelihood,
        "tarflow-imagenet128": tarflow.tarflow_imagenet128,
        "tarflow-afhq": tarflow.tarflow_afhq,
        "starflow-256": starflow.starflow_256,
        "starflow-256-decoder": starflow.starflow_256_decoder,
        "starflow-512": starflow.starflow_512,
        **tables.recipes(),
    }


def get(name: str) -> "RunConfig":
    """The configuration of a recipe: of one by its name, or of a function ``mine.py:laplace``.

    Raises:
        ValueError: there is no such recipe, and the sentence says which names are near; or the file cannot be
            imported, or its function gives something else.
    """
    if extend.names_function(name):
        return of_your_own(name)
    known = recipes()
    if name not in known:
        near = get_close_matches(name, known, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "simflow recipes lists all"
        if name.endswith(".py"):
            hint = f"one in a file is written {name}:FUNCTION"
        raise ValueError(f"there is no recipe '{name}'; {hint}")
    return known[name]()


def of_your_own(word: str) -> "RunConfig":
    """The configuration that a function in a file or a module gives.

    Raises:
        ValueError: as :func:`simflow.extend.function`; or it gives something else.
    """
    from simflow.config import RunConfig

    config = extend.function(word)()
    if not isinstance(config, RunConfig):
        raise ValueError(f"'{word}' gives a {type(config).__name__}; a recipe gives a RunConfig")
    return config
