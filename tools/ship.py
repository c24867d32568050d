"""Puts the averaged weights of a finished run into the package, as a model that is found by its name.

    python tools/ship.py RUN NAME [--card FILE]

It writes NAME/config.json and NAME/model.safetensors (bfloat16; several files if one would be too large) below
``simflow/pretrained``, and the hashes of all models into SHA256SUMS. The settings are the run's, but the images are
where the recipe has them, the way of sampling is the recipe's too (it is chosen after the training), and nothing is
started from.

Refused are a run that has not ended, files that are too large (10 MiB each, 25 MiB all together), settings that still
name a place on this machine, and rounding that moves samples: the same seeds are sampled with the weights as they are
and rounded, and the mean difference is printed.

The card is FILE, or the one that is there; or else a skeleton is written, with TODO wherever a person has to say what
no file knows. The tests refuse a model whose card still has one.
"""

import argparse
import hashlib
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from simflow import pretrained, recipes, weights
from simflow.config import RunConfig
from simflow.pipeline import Pipeline
from simflow.places import find
from simflow.settings import to_dict
from simflow.train.optim import total_steps

MEBIBYTE = 2**20
LARGEST_FILE, LARGEST_SUM = 10 * MEBIBYTE, 25 * MEBIBYTE
"""Bytes of one file, and of all that ships."""
LARGEST_HEAD = 100_000
"""Bytes that the list of names at the head of a file of weights may take."""

CARD = """---
license: TODO (of the weights, as the hub spells it, such as apache-2.0)
library_name: simflow
pipeline_tag: unconditional-image-generation
tags:
- simflow
- normalizing-flows
- image-generation
datasets:
- TODO
---

# {name}

TODO: one sentence on what it draws.

```bash
simflow sample {name} --num 64
```

{parameters} parameters, images of {size} x {size} pixels, {colour}; {classes}.

## Data

TODO: which images, how many, from where, how they were prepared.

## Licence

TODO: of the weights, and of the images they learnt from.

## Recipe

`simflow train {recipe}`{start}; its settings are in `config.json`. The weights are the average over the steps,
rounded to bfloat16.

## Budget

{steps} steps, {images} images seen. TODO: of earlier stages, the machine, the time.

## Figures

TODO: measured with these rounded weights: on which images, with which command.

## Limits

TODO: what it cannot do, and what it should not be used for.
"""


def main(words: Sequence[str] | None = None) -> int:
    """Reads the words of the command line, checks, writes and says what came out."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", help="folder of a finished run")
    parser.add_argument("name", help="of the model")
    parser.add_argument("--card", type=Path, help="the model card, a README.md for the hub")
    parser.add_argument("--recipe", help="whose data path is meant; that of the run's name if not given")
    parser.add_argument("--into", type=Path, default=pretrained.root(), help="folder of the models")
    parser.add_argument("--num", type=int, default=32, help="samples that are compared")
    parser.add_argument(
        "--tolerance", type=float, default=0.01, help="mean difference that is allowed, on [-1, 1]"
    )
    given = parser.parse_args(words)
    try:
        lines = ship(
            given.run,
            given.into / given.name,
            card=given.card,
            recipe=given.recipe,
            num=given.num,
            tolerance=given.tolerance,
        )
    except ValueError as error:
        print(f"ship: {error}", file=sys.stderr)
        return 2
    print("\n".join(lines))
    return 0


def ship(
    run: str, folder: Path, *, card: Path | None, recipe: str | None, num: int, tolerance: float
) -> list[str]:
    """Writes a model's folder and the hashes beside it; gives what there is to say.

    Nothing is written if anything is wrong.

    Raises:
        ValueError: see the head of this file.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", folder.name):
        raise ValueError(f"a name is of small letters, digits and hyphens, and '{folder.name}' is not")
    state = state_of(find(run))
    pipe = Pipeline.from_pretrained(run)
    if state["step"] < total_steps(pipe.config.train.stages):
        raise ValueError(
            f"the run is at step {state['step']} of {total_steps(pipe.config.train.stages)}: let it end first"
        )
    start = pipe.config.start_from
    pipe.config = scrubbed(pipe.config, recipe or pipe.config.name)
    with tempfile.TemporaryDirectory() as name:
        part = Path(name)
        pipe.save_pretrained(part, dtype="bfloat16", max_shard_size=LARGEST_FILE - LARGEST_HEAD)
        if card is not None:
            shutil.copyfile(card, part / "README.md")
        elif (folder / "README.md").is_file():
            shutil.copyfile(folder / "README.md", part / "README.md")
        else:
            text = skeleton(folder.name, pipe, state, started=start is not None)
            (part / "README.md").write_text(text, encoding="utf-8")
        files = sorted(part.iterdir())
        total = check_sizes(files, [path for path in shipped(folder.parent) if path.parent != folder])
        away = difference(pipe, Pipeline.from_pretrained(part), num=num)
        if away > tolerance:
            raise ValueError(
                f"rounding to bfloat16 moves samples by {away:.4f} on average, and {tolerance} is allowed"
            )
        folder.mkdir(parents=True, exist_ok=True)
        for path in weights.files(folder):
            path.unlink()
        for path in files:
            shutil.copyfile(path, folder / path.name)
    write_sums(folder.parent)
    said = [
        f"{folder / path.name}  {(folder / path.name).stat().st_size / MEBIBYTE:.2f} MiB" for path in files
    ]
    said.append(f"all models together {total / MEBIBYTE:.2f} MiB")
    said.append(
        f"{num} samples with rounded weights differ from those in float32 by {away:.5f} on [-1, 1] on average"
    )
    todo = (folder / "README.md").read_text(encoding="utf-8").count("TODO")
    return [*said, f"the card has {todo} TODO to fill in"] if todo else said


def state_of(folder: Path) -> dict[str, Any]:
    """Step and images seen, of a checkpoint.

    Raises:
        ValueError: the folder is no checkpoint.
    """
    file = folder / "state.json"
    if not file.is_file():
        raise ValueError(f"'{folder}' is a saved model: give the run that it comes from")
    return json.loads(file.read_text(encoding="utf-8"))


def scrubbed(config: RunConfig, recipe: str) -> RunConfig:
    """Settings that name no place on this machine: images and the way of sampling are the recipe's.

    Raises:
        ValueError: there is no such recipe, or another setting names a place.
    """
    own = recipes.get(recipe)
    config = replace(
        config, data=replace(config.data, path=own.data.path), sample=own.sample, start_from=None
    )
    places = [f"{name} ({value})" for name, value in texts(to_dict(config), "") if value[:1] in ("/", "~")]
    if places:
        raise ValueError(f"the settings name places on this machine: {', '.join(places)}")
    return config


def texts(tree: Any, path: str) -> Iterator[tuple[str, str]]:
    """All strings in nested dicts and lists, with their dotted names.

    >>> list(texts({"a": {"b": "/x"}, "c": [1, "y"]}, ""))
    [('a.b', '/x'), ('c.1', 'y')]
    """
    if isinstance(tree, str):
        yield path, tree
    elif isinstance(tree, dict | list):
        for name, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from texts(value, f"{path}.{name}" if path else str(name))


def check_sizes(files: Sequence[Path], others: Sequence[Path]) -> int:
    """Bytes of all that ships: the files of this model and of the others.

    Raises:
        ValueError: a file is too large, or all are together.
    """
    for path in files:
        if path.stat().st_size > LARGEST_FILE:
            raise ValueError(
                f"{path.name} has {path.stat().st_size / MEBIBYTE:.2f} MiB, and a file may have "
                f"{LARGEST_FILE / MEBIBYTE:.0f}"
            )
    total = sum(path.stat().st_size for path in [*files, *others])
    if total > LARGEST_SUM:
        raise ValueError(
            f"all models together would have {total / MEBIBYTE:.2f} MiB, and {LARGEST_SUM / MEBIBYTE:.0f} are allowed"
        )
    return total


def shipped(folder: Path) -> list[Path]:
    """The files of the models below a folder."""
    return sorted(path for config in folder.glob("*/config.json") for path in config.parent.iterdir())


def difference(one: Pipeline, other: Pipeline, *, num: int) -> float:
    """Mean absolute difference, on [-1, 1], of the samples of the same seeds: classes in turn, the run's own way."""
    here, there = (pipe(num_images=num, seeds=range(num), output_type="pt").images for pipe in (one, other))
    return (here.int() - there.int()).abs().double().mean().item() / 127.5


def skeleton(name: str, pipe: Pipeline, state: dict[str, Any], *, started: bool) -> str:
    """A card with what the run's files say, and TODO for the rest."""
    facts = pipe.model.facts
    return CARD.format(
        name=name,
        parameters=f"{sum(p.numel() for p in pipe.model.parameters()) / 1e6:.2f} M",
        size=facts.image_size,
        colour="gray" if facts.channels == 1 else "colour",
        classes=f"classes: {', '.join(facts.class_names)}" if facts.class_names else "without classes",
        recipe=pipe.config.name,
        start=", which starts from another run's weights (TODO: which)" if started else "",
        steps=state["step"],
        images=state["images_seen"],
    )


def write_sums(folder: Path) -> None:
    """Writes the hashes of all models below a folder, as ``sha256sum`` does, into a file in it."""
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}\n"
        for path in shipped(folder)
        if path.name != "README.md"
    ]
    (folder / pretrained.SUMS).write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
