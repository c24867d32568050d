"""Words of the command line into values: dotted settings, seeds, pairs. Nothing heavy is imported here."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from simflow.yaml_text import parse_yaml

MOST = 10_000_000
"""More images than one call is asked for, but by a slip of the finger; their numbers are held in memory."""


def check_count(flag: str, said: object, count: int) -> None:
    """Refuses more images than a call can mean.

    Raises:
        ValueError: there are more than :data:`MOST`.
    """
    if count > MOST:
        raise ValueError(f"{flag} {said} asks for too many: one call takes at most {MOST}")


def require_least(arguments: object, least: Mapping[str, int]) -> None:
    """Refuses numbers that are given and too small, by the flag of their field.

    Raises:
        ValueError: one is below its least.
    """
    for name, bound in least.items():
        value = getattr(arguments, name)
        if value is not None and value < bound:
            raise ValueError(f"--{name.replace('_', '-')} must be at least {bound}, not {value}")


def split_settings(words: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Takes the dotted flags out of a command's words: ``--train.batch 64`` or ``--train.batch=64``.

    Values are YAML scalars or lists; a dash in a name is an underscore.

    >>> split_settings(["demo", "--train.save-every", "2Ki", "--out", "x", "--model.posterior.std=0.3"])
    (['demo', '--out', 'x'], {'train.save_every': '2Ki', 'model.posterior.std': 0.3})

    Raises:
        ValueError: a flag without a value, a value that is no YAML, or a setting given twice.
    """
    plain: list[str] = []
    settings: dict[str, Any] = {}
    queue = iter(words)
    for word in queue:
        flag, equals, value = word.partition("=")
        if not flag.startswith("--") or "." not in flag:
            plain.append(word)
            continue
        if not equals:
            value = next(queue, "--")
            if value.startswith("--"):
                raise ValueError(f"the setting '{flag}' needs a value")
        name = flag[2:].replace("-", "_")
        if name in settings:
            raise ValueError(f"the setting '{flag}' is given twice")
        try:
            settings[name] = parse_yaml(value)
        except yaml.YAMLError as error:
            raise ValueError(f"the value of '{flag}' is not YAML: {value}") from error
    return plain, settings


def refuse_settings(settings: Mapping[str, Any], command: str) -> None:
    """For commands that take no settings.

    Raises:
        ValueError: there are some.
    """
    for name in settings:
        raise ValueError(f"'simflow {command}' takes no settings, and '--{name}' is one")


def parse_seeds(text: str) -> list[int]:
    """Seeds from ``A-B`` (both ends belong to it), single numbers, or several of them with commas.

    >>> parse_seeds("0-3"), parse_seeds("7,100-101")
    ([0, 1, 2, 3], [7, 100, 101])

    Raises:
        ValueError: not of this form, a range that runs backwards, or too many.
    """
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise ValueError(f"seeds are written 0-99 or 3,7,20-29, not '{text}'")
        if dash and int(last) < int(first):
            raise ValueError(f"the seeds '{part}' run backwards")
        more = range(int(first), int(last if dash else first) + 1)
        check_count("--seeds", text, len(seeds) + more.stop - more.start)
        seeds += more
    return seeds


def parse_numbers(text: str) -> list[float]:
    """Numbers with commas.

    >>> parse_numbers("0,0.5, 2")
    [0.0, 0.5, 2.0]

    Raises:
        ValueError: not of this form.
    """
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise ValueError(f"numbers are written with commas, such as 0,0.5,1, not '{text}'") from error


def parse_pairs(texts: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of image numbers.

    >>> parse_pairs(["3,17", "5,9"])
    [(3, 17), (5, 9)]

    Raises:
        ValueError: not two numbers with a comma.
    """
    pairs = []
    for text in texts:
        first, _, second = text.partition(",")
        if not (first.strip().isdigit() and second.strip().isdigit()):
            raise ValueError(f"a pair is written as two image numbers, such as 3,17, not '{text}'")
        pairs.append((int(first), int(second)))
    return pairs
