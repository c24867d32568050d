"""The table of a study, as a record for programs and as Markdown for people: means over seeds, and what they decide."""

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from simflow.evaluate.called import name_of_unseen
from simflow.study.budget import Budget, plain
from simflow.study.claim import Verdict, tally, verdicts
from simflow.study.columns import FIGURES, TRAINING, Column, column
from simflow.study.study import Study

RULE = (
    "An order is decided where the mean difference over seeds (positive as claimed, paired by seed) is more than t of "
    "its standard errors from zero, t being Student's 0.95 quantile: 2.92 for three seeds; with one seed never."
)

Records = Mapping[str, Mapping[int, Mapping[str, Any]]]
"""The record of each run by row and seed, as :mod:`simflow.study.worker` keeps them."""


def tabled(study: Study, budget: Budget, records: Records, reference: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that is known of a study, JSON-able."""
    figures = figures_of(records)
    found = verdicts(study, figures)
    return {
        "format": 1,
        "study": study.name,
        "says": study.says,
        "note": study.note,
        "numbers_beside": study.source,
        "budget": plain(budget),
        "real_images": dict(reference),
        "rows": [
            {
                "name": row.name,
                "label": row.label,
                "recipe": row.recipe,
                "after": None if row.after is None else row.after.name,
                "paper": dict(row.paper),
                "paper_source": row.source or study.source,
                "mean": {key: value for key, (value, _) in spread(figures[row.name]).items()},
                "standard_deviation": {key: value for key, (_, value) in spread(figures[row.name]).items()},
                "seeds": {str(seed): dict(record) for seed, record in records[row.name].items()},
            }
            for row in study.rows
        ],
        "rule": RULE,
        "orderings": [verdict.to_dict() for verdict in found],
        "tally": tally(found),
    }


def figures_of(records: Records) -> dict[str, dict[int, dict[str, Any]]]:
    """The figures by key of the runs that have some."""
    return {
        name: {seed: dict(record["figures"]) for seed, record in own.items() if record.get("figures")}
        for name, own in records.items()
    }


def spread(runs: Mapping[int, Mapping[str, Any]]) -> dict[str, tuple[float | None, float | None]]:
    """Mean and standard deviation over seeds of each figure; no deviation of a single one.

    >>> spread({0: {"psnr": 20.0}, 1: {"psnr": 22.0}})["psnr"][0]
    21.0
    """
    found: dict[str, tuple[float | None, float | None]] = {}
    for each in (*FIGURES, *TRAINING):
        values = [float(run[each.key]) for run in runs.values() if run.get(each.key) is not None]
        mean = fmean(values) if values else None
        found[each.key] = mean, stdev(values) if len(values) > 1 else None
    return found


def markdown(study: Study, budget: Budget, records: Records, reference: Mapping[str, Any]) -> str:
    """The table for people."""
    figures = figures_of(records)
    spreads = {row.name: spread(figures[row.name]) for row in study.rows}
    judged, training = (
        [each for each in columns if any(spreads[row.name][each.key][0] is not None for row in study.rows)]
        for columns in (FIGURES, TRAINING)
    )
    found = verdicts(study, figures)
    parts = [
        f"# {study.name}: {study.says}",
        "\n".join(introduction(study, budget, records, reference)),
        "## Figures",
        grid(study, judged, spreads, records),
        "## Training and cost",
        grid(study, training, spreads, records),
        "## Orderings",
        said_of(found),
        orderings(study, found, figures),
    ]
    failed = failures(study, records)
    if failed:
        parts += ["## Failed", "\n".join(f"- {line}" for line in failed)]
    return "\n\n".join(part for part in parts if part) + "\n"


def introduction(study: Study, budget: Budget, records: Records, reference: Mapping[str, Any]) -> list[str]:
    """What was done, and what real images score."""
    seeds = sorted({seed for own in records.values() for seed in own})
    unseen = unseen_of(reference)
    length = "the recipes' own length" if budget.steps is None else f"{budget.steps} steps per run"
    lines = [
        f"Recipes at the {budget.scale} scale, {length}, seeds {', '.join(map(str, seeds)) or 'none yet'}; "
        f"{budget.num} samples and up to {budget.held_out} {unseen} per run. "
        "Mean ± standard deviation over seeds.",
        "",
        f"In *italics* the paper's numbers ({study.source}): other data, another network behind the Fréchet "
        "distance, another size. Only their order can be compared.",
    ]
    if study.note:
        lines += ["", study.note]
    if reference.get("frechet"):
        floor = reference.get("floor")
        real = "" if floor is None else f"; real images against real images score {floor:.2f}"
        lines += ["", f"Fréchet distances are {reference['frechet']}{real}."]
    if reference.get("accuracy") is not None:
        lines.append(f"The classifier is right on {reference['accuracy']:.1%} of {unseen}.")
    if reference.get("perceptual"):
        lines.append(f"The perceptual distance is {reference['perceptual']['name']}.")
    if reference.get("held_out_are_training_images"):
        lines.append("There are no held-out images: reconstructions are those of training images.")
    lines += [f"Left out: {sentence}" for sentence in reference.get("left_out", [])]
    return lines


def unseen_of(reference: Mapping[str, Any]) -> str:
    """What to call the images that are reconstructed and coded.

    >>> unseen_of({}), unseen_of({"held_out_are_training_images": True})
    ('held-out images', 'training images')
    """
    return name_of_unseen(held_out=not reference.get("held_out_are_training_images"))


def grid(
    study: Study,
    columns: Sequence[Column],
    spreads: Mapping[str, Mapping[str, tuple[float | None, float | None]]],
    records: Records,
) -> str:
    """A row a system; behind each figure of which the paper prints a like, its numbers in italics."""
    shown: list[tuple[Column, bool]] = []
    for each in columns:
        shown.append((each, False))
        if any(each.key in row.paper for row in study.rows):
            shown.append((each, True))
    if not shown:
        return "Nothing yet."
    heads = ["row", "seeds", *(f"*{each.paper}*" if paper else each.heading for each, paper in shown)]
    lines = [heads, ["---"] * len(heads)]
    for row in study.rows:
        done = sum(record.get("failed") is None for record in records[row.name].values())
        cells = [row.label, str(done)]
        for each, paper in shown:
            if paper:
                value = row.paper.get(each.key)
                cells.append("" if value is None else f"*{printed(each, value)}*")
            else:
                cells.append(number(each, *spreads[row.name][each.key]))
        lines.append(cells)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def number(each: Column, mean: float | None, deviation: float | None) -> str:
    """A figure as it stands in a cell.

    >>> number(column("psnr"), 21.456, 0.123), number(column("parameters"), 1234567.0, 0.0)
    ('21.46 ± 0.12', '1 234 567')
    """
    if mean is None:
        return ""
    if each.key.endswith("parameters"):
        return f"{mean:,.0f}".replace(",", " ")
    text = f"{mean:.{each.digits}f}"
    return text if deviation is None or each.key == "collapsed" else f"{text} ± {deviation:.{each.digits}f}"


def printed(each: Column, value: float) -> str:
    """A number of the paper.

    >>> printed(column("prior_parameters"), 37e6), printed(column("collapsed"), 1.0), printed(column("rfd"), 2.9)
    ('37M', 'yes', '2.90')
    """
    if each.key == "collapsed":
        return "yes" if value else "no"
    if each.key == "prior_parameters":
        return f"{value / 1e9:g}B" if value >= 1e9 else f"{value / 1e6:g}M"
    return f"{value:.3f}" if each.key == "lpips" else f"{value:.2f}"


def said_of(found: Sequence[Verdict]) -> str:
    """How many orders hold, and by which rule."""
    counts = tally(found)
    return (
        f"Of {len(found)} orders {counts['holds']} hold, {counts['does not hold']} do not, {counts['undecided']} are "
        f"undecided. {RULE}"
    )


def orderings(
    study: Study, found: Sequence[Verdict], figures: Mapping[str, Mapping[int, Mapping[str, Any]]]
) -> str:
    """A line a claim."""
    heads = ["claimed", "by", "source", "paper", "ours", "difference", "seeds as claimed", "verdict"]
    lines = [heads, ["---"] * len(heads)]
    spreads = {name: spread(own) for name, own in figures.items()}
    for verdict in found:
        claim, each = verdict.claim, column(verdict.claim.figure)
        better, worse = study.row(claim.better), study.row(claim.worse)
        theirs = [row.paper.get(claim.figure) for row in (better, worse)]
        ours = [spreads[row.name][claim.figure][0] for row in (better, worse)]
        error = "" if verdict.standard_error is None else f" ± {verdict.standard_error:.{each.digits}f}"
        difference = None if verdict.difference is None else round(verdict.difference, each.digits) + 0.0
        lines.append(
            [
                f"{better.label} beats {worse.label}",
                each.title,
                claim.source,
                " : ".join("–" if value is None else printed(each, value) for value in theirs),
                " : ".join("–" if value is None else number(each, value, None) for value in ours),
                "" if difference is None else f"{difference:+.{each.digits}f}{error}",
                agreement(verdict),
                f"**{verdict.answer}**" + (f", {verdict.why}" if verdict.why else ""),
            ]
        )
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def agreement(verdict: Verdict) -> str:
    """How many of the pairs are as claimed."""
    if verdict.agreeing is None:
        return "not paired"
    return f"{verdict.agreeing} of {verdict.seeds}" if verdict.seeds else ""


def failures(study: Study, records: Records) -> list[str]:
    """A sentence for each run without figures."""
    return [
        f"{row.label}, seed {seed}: failed: {record['failed']}"
        for row in study.rows
        for seed, record in records[row.name].items()
        if record.get("failed")
    ]
