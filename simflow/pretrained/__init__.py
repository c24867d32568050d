"""The trained models that come with the package: found by name, loaded without a network.

::

    NAME/config.json           settings and facts, as Pipeline.save_pretrained writes them
    NAME/model*.safetensors    averaged weights, rounded to bfloat16
    NAME/README.md             the model card: data, licence, recipe, budget, figures, limits
    SHA256SUMS                 of settings and weights; ``sha256sum -c`` reads it

``tools/ship.py`` writes them from finished runs. A folder of the same name in the working directory goes before a
model of the package wherever a run is asked for.
"""

from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path

from simflow.files import cache_folder

SUMS = "SHA256SUMS"
"""File with the hashes, beside the models' folders."""


def root() -> Path:
    """The folder that holds a folder for each model."""
    return Path(str(files("simflow.pretrained")))


def names() -> tuple[str, ...]:
    """The models that there are, in the order of the alphabet."""
    return tuple(sorted(config.parent.name for config in root().glob("*/config.json")))


def find(name: str) -> Path | None:
    """The folder of the model of this name; None if there is none."""
    return root() / name if name in names() else None


def hint(name: str) -> str:
    """What to add to the sentence that there is nothing of this name: near names, or those that there are."""
    known = names()
    near = get_close_matches(name, known, n=3)
    if near:
        return f"; did you mean {' or '.join(near)}, which the package brings along?"
    return f"; the package brings along {', '.join(known)}" if known else ""


def summary(name: str) -> str:
    """What the card of a model says first, below its title: one line."""
    text = (root() / name / "README.md").read_text(encoding="utf-8")
    _, _, body = text.partition("\n# ")
    paragraphs = body.split("\n\n")
    return " ".join(paragraphs[1].split()) if len(paragraphs) > 1 else ""


def cache(name: str) -> Path:
    """The user's own folder for what is measured of a model, for that of the package may be read-only."""
    return cache_folder() / name
