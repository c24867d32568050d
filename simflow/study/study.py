"""What a study is: rows to be trained and judged alike, and what a paper says of their order. All of it is data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Scale = Literal["small", "paper"]
"""The demo's system on little images, or the published one."""


@dataclass(frozen=True, kw_only=True)
class Before:
    """A run that must be there first: the autoencoder that a row starts from. It has the row's seed and budget."""

    name: str
    """Its folder's, beside those of the rows."""
    recipe: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Dotted settings of this run alone."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One system of a study."""

    name: str
    """Its folder's, and what claims call it."""
    label: str
    """What tables and pictures call it."""
    recipe: str
    """Which trains it."""
    paper: Mapping[str, float] = field(default_factory=dict)
    """What the paper prints for it, by :mod:`simflow.study.columns`' keys."""
    source: str = ""
    """Where it prints that, if not where the study says."""
    after: Before | None = None
    """What must be trained first."""
    x: float | None = None
    """Its place on the plot's axis, where the study has one."""
    paper_x: float | None = None
    """The place of the paper's row, if it is another."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """An order of two rows by one figure, as the paper states it."""

    better: str
    worse: str
    figure: str
    """A key of :mod:`simflow.study.columns`."""
    source: str
    """The table, figure or section that says so."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """A named set of rows and what is claimed of them."""

    name: str
    says: str
    """What is compared, in a line."""
    source: str
    """Whose the numbers beside ours are."""
    rows: tuple[Row, ...]
    claims: tuple[Claim, ...]
    axis: str | None = None
    """Name of the plot's axis; None where rows stand side by side."""
    logarithmic: bool = False
    """Whether the axis is."""
    note: str = ""
    """What a reader of the table must know besides."""

    def row(self, name: str) -> Row:
        """The row of that name.

        Raises:
            ValueError: there is none.
        """
        for row in self.rows:
            if row.name == name:
                return row
        raise ValueError(
            f"the study '{self.name}' has no row '{name}'; it has {', '.join(row.name for row in self.rows)}"
        )
