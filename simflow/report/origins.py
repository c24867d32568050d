"""The last part of the report: settings, where every figure comes from, and what is not there."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from simflow.records import at, leaves
from simflow.report.gather import Run
from simflow.report.markup import Child, Markup, tag
from simflow.report.parts import folded, note, run_name, section, table

CHOICES = (
    ("Autoencoder", "model.autoencoder.type"),
    ("Latent channels", "model.autoencoder.latent_channels"),
    ("Posterior", "model.posterior.type"),
    ("Posterior's standard deviation", "model.posterior.std"),
    ("Layers of the blocks", "model.prior.depths"),
    ("Width", "model.prior.block.width"),
    ("Batch", "train.batch"),
    ("Learning rate", "train.optimizer.lr"),
    ("Guidance", "sample.guidance.type"),
    ("Guidance weight", "sample.guidance.weight"),
    ("Temperature", "sample.temperature"),
)
"""Settings that are shown first."""


def configuration(runs: Sequence[Run]) -> Markup:
    """The choices that matter most, or those that differ; all of them folded away."""
    head = ["setting", *(run_name(run.name, i, len(runs)) or "value" for i, run in enumerate(runs))]
    flat = [dict(leaves(run.settings)) for run in runs]
    if len(runs) == 1:
        title = "Main choices"
        pairs = [(name, at(runs[0].settings, path)) for name, path in CHOICES]
        rows: list[list[Child]] = [[name, plain(value)] for name, value in pairs if value is not None]
    else:
        title = "Settings that differ"
        paths = dict.fromkeys(path for own in flat for path in own)
        rows = [
            [tag("code", path), *(plain(own[path]) if path in own else "–" for own in flat)]
            for path in paths
            if len({plain(own.get(path, "–")) for own in flat}) > 1
        ]
    whole = [
        folded(
            ["All settings", " of " if len(runs) > 1 else None, run_name(run.name, i, len(runs))],
            tag("pre", yaml.safe_dump(run.settings, sort_keys=False, allow_unicode=True)),
        )
        for i, run in enumerate(runs)
    ]
    shown = table(head, rows, title=title, numbers=False) if rows else note("All settings are the same.")
    return section("configuration", "Configuration", shown, *whole)


def provenance(runs: Sequence[Run], *, date: str, software: str) -> Markup:
    """What the figures were made of and with, a folded list a source; and what this page lacks."""
    made: list[Child] = []
    for place, run in enumerate(runs):
        of = [" of ", run_name(run.name, place, len(runs))] if len(runs) > 1 else None
        sources: dict[str, Any] = {"checkpoint": run.state}
        sources |= {f"evaluation, {name}.json": tree for name, tree in run.evaluations.items()}
        if run.analysis is not None:
            sources["analysis"] = {
                "origin": dataclasses.asdict(run.analysis.origin),
                "plan": dataclasses.asdict(run.analysis.plan),
                "images": run.analysis.images,
            }
        for name, tree in sources.items():
            if tree:
                text = yaml.safe_dump(_listed(tree), sort_keys=False, allow_unicode=True)
                made.append(folded([name, of], tag("pre", text)))
    return section(
        "origin",
        "Where this comes from",
        note(f"Made {date} with {software}. One file: nothing is loaded from anywhere."),
        *made,
    )


def left_out(runs: Sequence[Run]) -> Markup | None:
    """What is not there and why, a line each."""
    lines = [
        tag("li", run_name(run.name, place, len(runs)), " " if len(runs) > 1 else None, line)
        for place, run in enumerate(runs)
        for line in run.left_out
    ]
    return section("left-out", "Not in this report", tag("ul", *lines)) if lines else None


def plain(value: Any) -> str:
    """A setting in words.

    >>> plain([2, 2, 4]), plain(None), plain(True), plain([{"a": 1}])
    ('2, 2, 4', 'none', 'yes', '{a: 1}')
    """
    if isinstance(value, list):
        return ", ".join(map(plain, value))
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {plain(each)}" for name, each in value.items()) + "}"
    return {None: "none", True: "yes", False: "no"}.get(value, str(value)) if _word(value) else str(value)


def _word(value: Any) -> bool:
    return value is None or isinstance(value, bool)


def _listed(tree: Any) -> Any:
    """Tuples as lists, which YAML has a word for."""
    if isinstance(tree, Mapping):
        return {str(name): _listed(value) for name, value in tree.items()}
    return [_listed(value) for value in tree] if isinstance(tree, list | tuple) else tree
