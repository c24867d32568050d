"""One figure of a result: a number, how sure it is, and what real images score.

A distance means nothing by itself. Beside each figure stand, where they can be had, the standard error and interval of
the images that were drawn (:mod:`simflow.evaluate.interval`), and the *floor*: the same figure with real images in the
place of the samples. ``detail`` keeps what the number depends on: counts, neighbours, splits.
"""

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A named number of a result."""

    name: str
    """Such as FID, FD-EffLite0, precision."""
    value: float
    better: Literal["lower", "higher"]
    standard_error: float | None = None
    """By a jackknife, or that of a mean or share; None if it was not taken."""
    interval: tuple[float, float] | None = None
    """``value`` plus and minus 1.96 standard errors."""
    floor: float | None = None
    """The same figure of real images against other real images; for shares and scores it is a ceiling."""
    detail: dict[str, Any] = field(default_factory=dict)
    """What else belongs to the number."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return finite(dataclasses.asdict(self))


def with_error(value: float, standard_error: float | None) -> dict[str, Any]:
    """The fields ``value``, ``standard_error`` and ``interval`` of a :class:`Figure`."""
    if standard_error is None:
        return {"value": value, "standard_error": None, "interval": None}
    reach = 1.96 * standard_error
    return {"value": value, "standard_error": standard_error, "interval": (value - reach, value + reach)}


def share(value: float, count: int) -> dict[str, Any]:
    """The same for a share of ``count`` images: ``sqrt(p (1 - p) / n)``."""
    return with_error(value, math.sqrt(value * (1 - value) / count))


def finite(tree: Any) -> Any:
    """A tree of dicts and lists in which infinities and what is no number are None, as JSON has no word for them."""
    if isinstance(tree, dict):
        return {str(key): finite(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [finite(value) for value in tree]
    if isinstance(tree, float) and not math.isfinite(tree):
        return None
    return tree
