"""What the numbers of a config may be: refusals that name the setting, for the ``__post_init__`` of any config.

A setting is named by where its config stands and its field, ``train.keep``, as its flag is. None stands for "none"
and is accepted; of a tuple each element is looked at. Not a number (nan) is never within bounds.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any


def at_least(least: int, config: Any, where: str, *names: str) -> None:
    """Refuses counts below ``least``.

    Raises:
        ValueError: one is.
    """
    refuse(lambda value: value >= least, f"at least {least}", config, where, names)


def positive(config: Any, where: str, *names: str) -> None:
    """Refuses numbers that are not above 0, or not finite.

    Raises:
        ValueError: one is not.
    """
    refuse(lambda value: 0 < value < math.inf, "a finite number above 0", config, where, names)


def not_negative(config: Any, where: str, *names: str) -> None:
    """Refuses numbers below 0, or not finite.

    Raises:
        ValueError: one is.
    """
    refuse(lambda value: 0 <= value < math.inf, "a finite number from 0 on", config, where, names)


def share(config: Any, where: str, *names: str) -> None:
    """Refuses what is no share, or all: an old value kept whole never changes, what is dropped whole is gone.

    Raises:
        ValueError: one is not in [0, 1).
    """
    refuse(lambda value: 0 <= value < 1, "in [0, 1)", config, where, names)


def refuse(fits: Callable[[float], bool], wanted: str, config: Any, where: str, names: Sequence[str]) -> None:
    """Refuses numbers that do not fit, the first one in a sentence.

    Raises:
        ValueError: there is one.
    """
    for name in names:
        for path, value in numbers(getattr(config, name), f"{where}.{name}"):
            if not fits(value):
                raise ValueError(f"{path} must be {wanted}, not {value}")


def numbers(value: Any, path: str) -> Iterator[tuple[str, float]]:
    """The numbers of a field with their dotted paths.

    >>> list(numbers((2, 6), "depths")), list(numbers(None, "keep"))
    ([('depths.0', 2), ('depths.1', 6)], [])
    """
    if isinstance(value, tuple):
        for place, element in enumerate(value):
            yield from numbers(element, f"{path}.{place}")
    elif value is not None:
        yield path, value
