"""What a run's folder holds, read for the report. What is not there is left out and said, with how to make it.

::

    RUN/config.json, checkpoints/      settings, step, versions           (simflow train)
    RUN/metrics.jsonl                  losses
    RUN/figures.json, *.png            figures and pictures               (simflow demo)
    RUN/evaluation/*.json, *.png       figures and pictures               (simflow evaluate)
    RUN/analysis/                      latents, guidance, samples         (simflow analyze)
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from simflow import pretrained
from simflow.analysis.picture import Picture
from simflow.analysis.record import FILE, Analysis, load
from simflow.config import RunConfig, from_record
from simflow.files import NoObject, read_json
from simflow.model import Facts
from simflow.records import at
from simflow.report.results import of_another_step
from simflow.train import checkpoint
from simflow.train.metrics import Curve, NoLoss, read_curves, read_held_out

ANALYSIS, EVALUATION = "analysis", "evaluation"
"""Folders in the run's, of the two commands that look at it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """All that is known of one run."""

    name: str
    folder: Path
    settings: dict[str, Any]
    """As in ``config.json``: nested."""
    facts: dict[str, Any]
    """What the model knows of its data."""
    sizes: dict[str, int]
    """How many numbers the whole model learns, and its parts."""
    floor: float | None
    """Of the flow's loss."""
    state: dict[str, Any]
    """Of the newest checkpoint: step, images seen, versions; empty if there is none."""
    evaluations: dict[str, Any] = field(default_factory=dict)
    """The JSON files of ``evaluation/`` and the demo's, by name; those of the newest step first, and of these the
    newest."""
    curves: dict[str, Curve] = field(default_factory=dict)
    unseen: dict[str, Curve] = field(default_factory=dict)
    """On held-out images."""
    analysis: Analysis | None = None
    pictures: dict[str, Picture] = field(default_factory=dict)
    """Of the analysis."""
    left_out: tuple[str, ...] = ()
    """What is not there, a sentence each."""


def gather(folder: Path, name: str, *, analysed: Path | None = None) -> Run:
    """Reads a run's folder.

    Args:
        folder: of the run, or a checkpoint.
        name: what to call it.
        analysed: folder of its analysis; ``RUN/analysis`` if not given.

    Raises:
        ValueError: there is no run, or a file in it is damaged.
    """
    if not (folder / "config.json").is_file():
        raise ValueError(f"there is no run in '{folder}': it has no config.json")
    left_out: list[str] = []
    record, state = _newest(folder, left_out)
    sizes, floor = _built(record, left_out)
    curves, unseen = dict[str, Curve](), dict[str, Curve]()
    metrics = folder / "metrics.jsonl"
    if metrics.is_file() and metrics.stat().st_size:
        try:
            curves, unseen = read_curves(metrics), read_held_out(metrics)
        except NoLoss:
            left_out.append("Loss curves: no loss in metrics.jsonl is a number.")
    else:
        missing = "nothing stands in" if metrics.is_file() else "there is no"
        left_out.append(f"Loss curves: {missing} metrics.jsonl.")
    ships = folder.parent == pretrained.root()
    found: tuple[Analysis | None, dict[str, Picture]] = None, {}
    place = analysed or folder / ANALYSIS
    if analysed is not None or (place / FILE).is_file():
        found = load(place)
        left_out += found[0].left_out
        left_out += of_another_step("The analysis is", found[0].origin.step, state)
    else:
        how = f"{folder.name} --out FOLDER, and say --analysis FOLDER here" if ships else folder
        left_out.append(f"Latents and guidance: make them with simflow analyze {how}.")
    evaluations = _evaluations(folder)
    if not any("generation" in tree for tree in evaluations.values()):
        where = "they are in the model's card" if ships else f"make them with simflow evaluate {folder}"
        left_out.append(f"Figures of generation: {where}.")
    for evaluation, tree in evaluations.items():
        left_out += of_another_step(f"Evaluation {evaluation} is", at(tree, "run.step"), state)
        sentences = tree.get("left_out")
        if isinstance(sentences, list):
            left_out += [f"Evaluation {evaluation}: {sentence}." for sentence in sentences]
    return Run(
        name=name,
        folder=folder,
        settings=record["config"],
        facts=record["facts"],
        sizes=sizes,
        floor=floor,
        state=state,
        evaluations=evaluations,
        curves=curves,
        unseen=unseen,
        analysis=found[0],
        pictures=found[1],
        left_out=tuple(left_out),
    )


def _newest(folder: Path, left_out: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings and state of the newest checkpoint; the run's settings alone if it has none yet."""
    newest = folder if (folder / "state.json").is_file() else checkpoint.latest(folder / "checkpoints")
    record = _json(folder / "config.json" if newest is None else newest / "config.json")
    if not {"config", "facts"} <= record.keys():
        raise ValueError(
            f"'{folder / 'config.json'}' was not written by simflow: it lacks 'config' or 'facts'"
        )
    if newest is None:
        left_out.append("Step and versions: there is no checkpoint.")
        return record, {}
    return record, _json(newest / "state.json")


def _evaluations(folder: Path) -> dict[str, dict[str, Any]]:
    """The newest first: by the step that was judged, then by the time."""

    def age(pair: tuple[str, dict[str, Any]]) -> tuple[int, str, bool]:
        name, tree = pair
        step = at(tree, "run.step")
        return step if isinstance(step, int) else -1, str(at(tree, "made_by.date", "")), name == "results"

    files = [*folder.glob("figures.json"), *sorted((folder / EVALUATION).glob("*.json"))]
    trees = {path.stem: _json(path) for path in files}
    return dict(sorted(trees.items(), key=age, reverse=True))


def _built(record: dict[str, Any], left_out: list[str]) -> tuple[dict[str, int], float | None]:
    """Sizes and the loss's floor, from a model without memory behind its parameters."""
    try:
        config, facts = from_record(record)
        return _measured(config, facts)
    except ValueError as error:
        left_out.append(f"Model sizes: this version of simflow cannot read the settings ({error}).")
        return {}, None


def _measured(config: RunConfig, facts: Facts) -> tuple[dict[str, int], float | None]:
    with torch.device("meta"):
        model = config.model.build(facts)
    parts = {"autoencoder": model.autoencoder, "flow": model.prior, "total": model}
    sizes = {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}
    return sizes, config.objective.floor(model)


def _json(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except NoObject as error:
        raise ValueError(f"'{path}' is not a record: its outermost part must be an object") from error
