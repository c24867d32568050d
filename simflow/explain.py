"""Every setting of a configuration with its flag, its value and what it is for.

The text is the string under the field in the source, so it is written once, where the field is. A slot, where one of
several parts stands, has a flag of its own (``--model.posterior.type``), and the settings below it are those of the
part that stands there.
"""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, NamedTuple, get_args, get_origin

from simflow.settings import classes_of, hints_of, members_of


class Setting(NamedTuple):
    """One setting."""

    path: str
    """Dotted, as its flag is written."""
    value: Any
    """Plain; of a slot the name of the type that stands there, or None."""
    choices: tuple[str, ...]
    """What else may stand there, where that is a list: names of types, or words."""
    text: str
    """What it is for; empty where nobody wrote it down."""
    parts: tuple[type, ...] = ()
    """Of a slot, what may stand there."""


def explained(config: Any, prefix: str = "") -> Iterator[Setting]:
    """The settings of a tree of frozen dataclasses, in the order of their fields."""
    values = {field.name: getattr(config, field.name) for field in fields(config)}
    yield from _of_fields(type(config), values, prefix)


def explained_part(part: type, prefix: str) -> Iterator[Setting]:
    """The settings of a part that stands nowhere yet, at their defaults; None where there is none."""
    values = {
        field.name: field.default_factory() if field.default_factory is not MISSING else field.default
        for field in fields(part)
    }
    values = {name: None if value is MISSING else value for name, value in values.items()}
    yield from _of_fields(part, values, prefix)


def _of_fields(cls: type, values: dict[str, Any], prefix: str) -> Iterator[Setting]:
    hints, texts = hints_of(cls), {}
    for base in reversed(cls.__mro__):
        texts |= texts_of(base) if is_dataclass(base) else {}
    for name, value in values.items():
        yield from _explained(value, hints[name], f"{prefix}{name}", texts.get(name, ""))


def _explained(value: Any, hint: Any, path: str, text: str) -> Iterator[Setting]:
    members, parts = members_of(hint), classes_of(hint)
    if parts and (len(members) > 1 or not is_dataclass(value)):
        standing = type(value).__name__ if is_dataclass(value) else None
        names = tuple(part.__name__ for part in parts)
        yield Setting(f"{path}.type", standing, names, text, tuple(parts))
    if is_dataclass(value):
        yield from explained(value, f"{path}.")
    elif isinstance(value, tuple) and value and all(is_dataclass(item) for item in value):
        for number, item in enumerate(value):
            yield from explained(item, f"{path}.{number}.")
    elif not parts:
        words = tuple(
            str(word) for member in members if get_origin(member) is Literal for word in get_args(member)
        )
        yield Setting(path, list(value) if isinstance(value, tuple) else value, words, text)


def texts_of(cls: type) -> dict[str, str]:
    """The string literals under the fields of one class, read from its source; none where that is not kept."""
    try:
        source = inspect.getsource(cls)
    except OSError:  # it was typed in
        return {}
    (tree,) = ast.parse(textwrap.dedent(source)).body
    assert isinstance(tree, ast.ClassDef)
    texts: dict[str, str] = {}
    for field, below in zip(tree.body, tree.body[1:], strict=False):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                texts[name] = " ".join(text.split())
    return texts
