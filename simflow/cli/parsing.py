"""From a command's words to its arguments, and from a slip in them to one sentence.

The parser (tyro) reads the words and says in a box what it does not like. Here it is asked quietly: what it accepts is
accepted, and only where it refuses are the words looked through for what a person most likely got wrong, in the order
of :func:`slips`. If that finds nothing, the parser's own words are said, without the box.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr
from dataclasses import MISSING, fields, is_dataclass, replace
from difflib import get_close_matches
from io import StringIO
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

import tyro

from simflow.files import at_home
from simflow.settings import members_of

Arguments = TypeVar("Arguments")

MARKS = (tyro.conf.FlagCreatePairsOff,)
"""A flag is either there or not: there is no --no-flag beside it."""

KINDS = {int: "a whole number", float: "a number"}


class Flag(NamedTuple):
    """What may stand after a flag."""

    hint: Any
    """The annotation of its field."""
    needed: bool
    """Whether the command cannot do without it."""


def parsed(arguments: type[Arguments], words: Sequence[str], *, prog: str) -> Arguments:
    """The arguments that the words say.

    Args:
        arguments: frozen dataclass of a command.
        words: after the command's name, without dotted settings.
        prog: such as "simflow sample".

    Raises:
        ValueError: the words do not fit, in one sentence.
        SystemExit: help was asked for, and is printed.
    """
    said = StringIO()
    try:
        with redirect_stderr(said):
            found = tyro.cli(arguments, prog=prog, args=words, config=MARKS)
        return homed(found)
    except SystemExit as end:
        if not end.code:
            raise
    raise ValueError(next(slips(arguments, words, prog=prog), None) or unboxed(said.getvalue()))


def homed(arguments: Arguments) -> Arguments:
    """The arguments with ``~`` spelled out in paths: a shell leaves it as it is in ``--out=~/mine``."""
    values = {field.name: getattr(arguments, field.name) for field in fields(arguments)}  # pyright: ignore[reportArgumentType]
    paths = {name: at_home(value) for name, value in values.items() if isinstance(value, Path)}
    return replace(arguments, **paths)  # pyright: ignore[reportArgumentType]


def slips(arguments: type, words: Sequence[str], *, prog: str) -> Iterator[str]:
    """What is wrong with words that the parser refused, the likeliest first."""
    flags = flags_of(arguments)
    aliases = aliases_of(arguments)
    given = list(occurrences(words))
    for name, _ in given:
        if name.startswith("--") and name not in (*flags, *aliases, "--help"):
            near = get_close_matches(name, flags, n=1)
            hint = f"did you mean {near[0]}?" if near else f"'{prog} --help' lists what there is"
            yield f"there is no flag {name} for '{prog}'; {hint}"
    for name, values in given:
        long = aliases.get(name, name)
        if long in flags:
            yield from misfits(name, flags[long].hint, values)
    missing = [name for name, flag in flags.items() if flag.needed and name not in dict(given)]
    if missing:
        yield f"'{prog}' needs {' and '.join(missing)}; '{prog} --help' says what that is"
    left = left_over(arguments, words)
    if left:
        yield f"'{prog}' does not know what to do with '{left[0]}'; '{prog} --help' says what it takes"
    needed = needed_of(arguments) if left is None else []
    for number in range(1, len(needed) + 1):
        if left_over(arguments, ["x"] * number + [*words]) is not None:
            lacking = " and ".join(needed[-number:])
            yield f"'{prog}' is missing {lacking} before its flags; '{prog} --help' says what it takes"


def flags_of(arguments: type) -> dict[str, Flag]:
    """The flags of a dataclass and of the dataclasses in it, as they are written."""
    found: dict[str, Flag] = {}
    hints = get_type_hints(arguments, include_extras=True)
    for field in fields(arguments):
        hint = hints[field.name]
        plain, *marks = get_args(hint) if get_origin(hint) is Annotated else (hint,)
        if is_dataclass(plain) and isinstance(plain, type):
            found |= flags_of(plain)
        elif tyro.conf.Positional not in marks:
            needed = field.default is MISSING and field.default_factory is MISSING
            found[f"--{field.name.replace('_', '-')}"] = Flag(plain, needed)
    return found


def needed_of(arguments: type) -> list[str]:
    """The arguments before the flags that a command cannot do without, as its help has them."""
    hints = get_type_hints(arguments, include_extras=True)
    return [
        field.name.upper()
        for field in fields(arguments)
        if tyro.conf.Positional in getattr(hints[field.name], "__metadata__", ())
        and field.default is MISSING
        and field.default_factory is MISSING
    ]


def aliases_of(arguments: type) -> dict[str, str]:
    """The flag that each other name, such as ``-n``, stands for."""
    hints = get_type_hints(arguments, include_extras=True)
    marks = {name: getattr(hint, "__metadata__", ()) for name, hint in hints.items()}
    return {
        alias: f"--{name.replace('_', '-')}"
        for name, several in marks.items()
        for mark in several
        for alias in getattr(mark, "aliases", None) or ()
    }


def occurrences(words: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """The flags among the words, each with the words up to the next flag.

    >>> list(occurrences(["run", "--levels", "0", "-1.5", "--jacobi_window=8", "-n", "4"]))
    [('--levels', ['0', '-1.5']), ('--jacobi-window', ['8']), ('-n', ['4'])]
    """
    name, values = None, []
    for word in [*words, "--"]:
        if re.match(r"--|-[a-z]", word):
            if name is not None:
                yield name, values
            head, equals, value = word.partition("=")
            name = None if head == "--" else head.replace("_", "-")
            values = [value] if equals else []
        else:
            values.append(word)


def misfits(name: str, hint: Any, values: Sequence[str]) -> Iterator[str]:
    """What is wrong with the values of a flag; nothing if they may do, for words after them may be arguments.

    >>> next(misfits("--num", int | None, ["many"])), next(misfits("--levels", tuple[float, ...], ["0", "x"]))
    ("--num must be a whole number, not 'many'", "--levels must be a number, not 'x'")
    """
    members = [member for member in members_of(hint) if member is not NoneType]
    for member in members:
        several = get_origin(member) is tuple
        if not values and member is not bool and not several:
            yield f"{name} needs a value"
        element = get_args(member)[0] if several else member
        for value in values if several else values[:1]:
            if not fits(element, value) and len(members) == 1:
                yield f"{name} must be {wanted(element)}, not '{value}'"


def fits(kind: Any, value: str) -> bool:
    """Whether a word can be read as a Literal or a number; of other kinds everything may do."""
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if kind not in KINDS:
        return True
    try:
        kind(value)
    except ValueError:
        return False
    return True


def wanted(kind: Any) -> str:
    """A kind in words.

    >>> wanted(int), wanted(Literal["ema", "model"]), wanted(Literal["a", "b", "c"])
    ('a whole number', 'ema or model', 'a, b or c')
    """
    if kind in KINDS:
        return KINDS[kind]
    *first, last = get_args(kind)
    return f"{', '.join(first)} or {last}"


def left_over(arguments: type, words: Sequence[str]) -> list[str] | None:
    """Words that are left when the parser has taken all that it can; None if it refuses the others too."""
    try:
        with redirect_stderr(StringIO()):
            return tyro.cli(arguments, args=words, config=MARKS, return_unknown_args=True)[1]
    except SystemExit:
        return None


def unboxed(text: str) -> str:
    """The first part of a box on a terminal, as one line.

    >>> unboxed("╭─ Value error ─╮\\n│ Missing    │\\n│ a value.   │\\n│ ────────── │\\n│ More help  │")
    'Missing a value'
    """
    lines = [line.strip("│| ") for line in text.splitlines()[1:]]
    rule = next((number for number, line in enumerate(lines) if re.match("[─╰+-]{3}", line)), len(lines))
    first = " ".join(" ".join(lines[:rule]).split()).split(" Got errors:")[0]
    return first.rstrip(".")
