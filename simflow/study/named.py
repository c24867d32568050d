"""The list of studies."""

from difflib import get_close_matches

from simflow.study import own, published
from simflow.study.study import Scale, Study


def studies(scale: Scale = "small") -> dict[str, Study]:
    """All studies by name."""
    made = (
        published.table3,
        published.table4,
        published.table5,
        published.table6,
        published.table7,
        published.table10,
        published.figure8,
        own.balance,
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
