"""The figures of a run in one list, wherever they were written.

``simflow evaluate`` writes figures as objects with ``name``, ``value`` and ``better``
(:class:`simflow.evaluate.figures.Figure`), anywhere in its JSON files; they are found by walking. Others stand at
places of their own; these are listed here. ``figures.json`` of the demo is laid out likewise.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from simflow.records import at


@dataclass(frozen=True, kw_only=True)
class Result:
    """One figure of one run."""

    source: str
    """The file that it stands in, without its ending."""
    name: str
    value: float | None
    """None if it was no number."""
    better: Literal["lower", "higher"] | None = None
    """``lower``, ``higher``, or None where neither is."""
    error: float | None = None
    """Standard error."""
    floor: float | None = None
    """The same figure of real images."""
    deficient: bool = False
    """Whether there were fewer images than numbers in a feature: a distance then has a large bias."""


Place = tuple[str, str, Literal["lower", "higher"] | None, str | None, str | None]
"""What to call a figure, where it is, what is better, where its error and its floor are."""

EVALUATION: tuple[Place, ...] = (
    ("Class accuracy", "classes.accuracy", "higher", None, "classes.accuracy_of_held_out"),
    ("Diversity within a class", "classes.diversity", None, None, None),
    ("Share as near to training images as 1% of real ones", "neighbours.copying_share", "lower", None, None),
    (
        "Bits per dimension",
        "likelihood.held_out.bits_per_dimension",
        "lower",
        "likelihood.held_out.standard_error",
        None,
    ),
)
"""Of an evaluation, besides its list of figures."""


def of_evaluation(source: str, tree: Mapping[str, Any]) -> list[Result]:
    """The figures in the JSON of an evaluation: those in its lists, then the others. Those that several networks have
    under one name, such as precision, have the network's behind it."""
    foreign = at(tree, "likelihood.foreign") or {}
    told = [
        Result(source=source, name=f"AUROC, {name}", value=number(each.get("auroc")), better="higher")
        for name, each in foreign.items()
    ]
    listed = list(_listed(source, tree))
    often = Counter(each.name for each, _ in listed)
    named = [
        replace(each, name=f"{each.name}, {network}") if network and often[each.name] > 1 else each
        for each, network in listed
    ]
    return [*named, *_at_places(source, tree, EVALUATION), *told]


def _listed(source: str, tree: Any, network: str | None = None) -> Iterator[tuple[Result, str | None]]:
    """The objects with a name, a value and a word on what is better, anywhere in a tree, and the network of each."""
    if isinstance(tree, Mapping):
        network = at(tree, "extractor.name", network)
        if {"name", "value", "better"} <= tree.keys():
            yield (
                Result(
                    source=source,
                    name=capital(str(tree["name"])),
                    value=number(tree["value"]),
                    better=tree["better"] if tree["better"] in ("lower", "higher") else None,
                    error=number(tree.get("standard_error")),
                    floor=number(tree.get("floor")),
                    deficient=at(tree, "detail.rank_deficient") is True,
                ),
                network,
            )
            return
        tree = list(tree.values())
    if isinstance(tree, list):
        for branch in tree:
            yield from _listed(source, branch, network)


def _at_places(source: str, tree: Mapping[str, Any], places: Sequence[Place]) -> list[Result]:
    return [
        Result(
            source=source,
            name=name,
            value=value,
            better=better,
            error=None if error is None else number(at(tree, error)),
            floor=None if floor is None else number(at(tree, floor)),
        )
        for name, place, better, error, floor in places
        if (value := number(at(tree, place))) is not None
    ]


def of_another_step(subject: str, step: int | None, state: Mapping[str, Any]) -> list[str]:
    """A sentence if something is of another step than the newest checkpoint, whose record is ``state``.

    >>> of_another_step("It is", 10, {"step": 14}), of_another_step("It is", 14, {"step": 14})
    (['It is of step 10, and the newest checkpoint is of step 14.'], [])
    """
    newest = state.get("step")
    if None in (step, newest) or step == newest:
        return []
    return [f"{subject} of step {step}, and the newest checkpoint is of step {newest}."]


def capital(name: str) -> str:
    """A name as it may begin a line: words get a capital letter, acronyms have them."""
    return name[:1].upper() + name[1:]


def best(results: Sequence[Result | None]) -> int | None:
    """The place of the best of several runs' results, if one of them can be called so."""
    known = {i: each for i, each in enumerate(results) if each is not None and each.value is not None}
    ways = {each.better for each in known.values()}
    if len(known) < 2 or len(ways) != 1 or None in ways:
        return None
    order = sorted(known, key=lambda place: known[place].value or 0.0, reverse=ways == {"higher"})
    first, second = known[order[0]], known[order[1]]
    return None if first.value == second.value else order[0]


def number(value: Any) -> float | None:
    """A value that is a number, or None."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def rounded(value: float | None, error: float | None = None) -> str:
    """A figure as it is printed: to four digits, or to two digits of its standard error.

    >>> rounded(22.6095), rounded(0.80633), rounded(6.51386, 0.01594), rounded(None), rounded(12345.6)
    ('22.61', '0.8063', '6.514 ± 0.016', '–', '12346')
    """
    if value is None:
        return "–"
    if error:
        digits = max(0, 1 - math.floor(math.log10(error)))
        return f"{value:.{digits}f} ± {error:.{digits}f}"
    digits = max(0, 3 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:.{digits}f}"
