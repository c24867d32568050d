"""The list of studies."""

from difflib import get_close_matches

from simflow.study import comparisons, own, sweeps
from simflow.study.study import Scale, Study


def studies(scale: Scale = "small") -> dict[str, Study]:
    """All studies by name."""
    made = (
        sweeps.table3,
        sweeps.table4,
        sweeps.table5,
        comparisons.table6,
        comparisons.table7,
        comparisons.table10,
        comparisons.figure8,
        own.balance,
        own.systems,
    )
    return {study.name: study for study in (make(scale) for make in made)}


def get(name: str, scale: Scale = "small") -> Study:
    """One study.

    Raises:
        ValueError: there is none of that name; the sentence says which are.
    """
    known = studies(scale)
    if name not in known:
        near = get_close_matches(name, known, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
        raise ValueError(f"there is no study '{name}'; {hint}")
    return known[name]
