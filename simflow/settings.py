"""Trees of frozen dataclasses: written down, read back and changed.

A config is a frozen keyword-only dataclass. Its fields hold plain values (bool, int, float, str, Path,
Literal, None), other configs, or tuples of these. A *slot* is a field annotated with a union of configs
(``schedule: Constant | Cosine``): which part is used is said by its type, so there is no table of names to
keep up to date. Written down, a union says which member it holds under the key ``type``::

    to_dict(train)  ->  {"lr": 1e-4, "schedule": {"type": "Cosine", "final": 0.01, "warmup": 0}}

Reading follows one rule, for whole trees and for changes alike: *a mapping changes what stands in its place*.
What stands there is the present value (:func:`override`) or the field's default (:func:`from_dict`). Naming
another ``type`` swaps the part; its fields then start from the new type's own defaults, and nothing is
carried over even where names agree, for ``std`` may mean another thing there. A list replaces a whole tuple;
a mapping with numbers for keys (``stages.0.steps``) changes single elements.

Numbers and arrays of NumPy and torch count as the numbers and lists that they hold, and a path may stand where text
does: what is stored is always plain.

A slot is open: :func:`choice_of` offers a further part for it from anywhere, such as a file of a user's own. An offer
never changes what was said or written before it.

Every mistake that a user can make is a ``ValueError`` that names the dotted path. This file knows nothing of
what the settings mean.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from types import NoneType, UnionType
from typing import (
    Any,
    Literal,
    Protocol,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    runtime_checkable,
)

from simflow.records import join

Config = TypeVar("Config")

_COUNT = re.compile(r"(\d+(?:\.\d+)?)(Ki|Mi)?")

_OFFERED: dict[tuple[type, str], dict[str, type]] = {}
"""Parts offered for slots beyond their annotations: by config and field, then by name."""

_YOUR_OWN = "; if it is your own, import the file that offers it first, or name it in SIMFLOW_IMPORT"


@runtime_checkable
class Array(Protocol):
    """An array of any library, or one of its numbers."""

    def tolist(self) -> Any:
        """The same as Python's own numbers, in lists for each axis."""


SHORT = {"fp32": "float32", "bf16": "bfloat16"}
"""Short names of dtypes, as settings may give them and earlier versions wrote them."""


def spelled_out(word: str) -> str:
    """The whole name of a dtype that is known by a short one too; another word as it is.

    >>> spelled_out("bf16"), spelled_out("adaln")
    ('bfloat16', 'adaln')
    """
    return SHORT.get(word, word)


def parse_count(text: str) -> int:
    """A number of steps, images or bytes: plain digits, or a number with the suffix Ki (1024) or Mi (1024²).

    >>> parse_count("64Ki"), parse_count("1.5Mi"), parse_count("300")
    (65536, 1572864, 300)

    Raises:
        ValueError: another suffix, a sign, or not a whole number.
    """
    match = _COUNT.fullmatch(text.strip())
    if match:
        count = float(match[1]) * {None: 1, "Ki": 1024, "Mi": 1024**2}[match[2]]
        if count.is_integer():
            return int(match[1]) if match[1].isdigit() and not match[2] else int(count)
    raise ValueError(f"'{text}' is not a count: write a whole number, or one with Ki or Mi, such as 64Ki")


def choice_of(config: type, field: str) -> Callable[[type[Config]], type[Config]]:
    """Offers a part for a slot, beside those of its annotation; for the class of the part, as a decorator::

        @choice_of(ModelConfig, "posterior")
        @dataclass(frozen=True, kw_only=True)
        class Laplace(Posterior): ...

    It is then read, written and named as they are. A field of a single config becomes a slot by it. The same class
    again, as when its module is reloaded, takes the place of the first.

    Args:
        config: the config that has the slot.
        field: the slot's name in it.

    Raises:
        ValueError: there is no such field, or it holds no configs; the class is not a frozen dataclass, or another of
            its name is a choice there.
    """
    hints = hints_of(config)
    slot = f"{config.__name__}.{field}"
    if field not in hints:
        raise ValueError(_unknown(config, config.__name__, field))
    if not classes_of(hints[field]):
        raise ValueError(f"'{slot}' is not a slot: no settings stand there, so there is nothing to choose")

    def offer(part: type[Config]) -> type[Config]:
        made = vars(part).get("__dataclass_params__")
        if made is None or not made.frozen:
            raise ValueError(
                f"{part.__name__} is not a frozen dataclass: write @dataclass(frozen=True, kw_only=True) below "
                "@choice_of"
            )
        for known in classes_of(hints_of(config)[field]):
            if known.__name__ == part.__name__ and _whole_name(known) != _whole_name(part):
                raise ValueError(
                    f"'{slot}' has a choice '{part.__name__}' already, {_whole_name(known)}: take another name"
                )
        _OFFERED.setdefault((config, field), {})[part.__name__] = part
        return part

    return offer


def hints_of(config: type) -> dict[str, Any]:
    """The annotations of a config's fields, those of slots with what was offered for them."""
    hints = get_type_hints(config)
    for (owner, field), offered in _OFFERED.items():
        if issubclass(config, owner):
            hints[field] = Union[(hints[field], *offered.values())]
    return hints


def to_dict(config: Any) -> dict[str, Any]:
    """The tree as dicts, lists and plain values for JSON or YAML; :func:`from_dict` is the inverse."""
    hints = hints_of(type(config))
    return {f.name: _plain(getattr(config, f.name), hints[f.name]) for f in fields(config)}


def from_dict(cls: type[Config], mapping: Mapping[str, Any]) -> Config:
    """The config of type ``cls`` that ``mapping`` describes; fields not mentioned take their defaults.

    Raises:
        ValueError: an unknown or missing setting, an unknown type, or a value of the wrong kind.
    """
    return _read(cls, mapping, "", None)


def override(config: Config, mapping: Mapping[str, Any]) -> Config:
    """A copy of ``config`` changed by ``mapping``; its keys may be nested (YAML) or dotted (``"train.lr"``).

    A number may be one of NumPy's, a list an array, and text a path.

    Raises:
        ValueError: as :func:`from_dict`; or the same setting is given twice.
    """
    return _read(type(config), mapping, "", config)


def members_of(hint: Any) -> tuple[Any, ...]:
    """The alternatives of an annotation: the members of a union, or the annotation itself."""
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def classes_of(hint: Any) -> list[Any]:
    """The parts that may stand in a slot: the dataclasses among the alternatives."""
    return [member for member in members_of(hint) if is_dataclass(member)]


def _whole_name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _items(hint: Any, length: int) -> list[Any] | None:
    """The annotations of ``length`` elements, or None if a tuple of that length does not belong here."""
    for member in members_of(hint):
        if get_origin(member) is tuple:
            args = get_args(member)
            if args[-1] is Ellipsis:
                return [args[0]] * length
            if len(args) == length:
                return list(args)
    return None


def _plain(value: Any, hint: Any) -> Any:
    if is_dataclass(value):
        is_slot = len(members_of(hint)) > 1
        return ({"type": type(value).__name__} if is_slot else {}) | to_dict(value)
    if isinstance(value, tuple):
        items = _items(hint, len(value))
        assert items is not None, f"{value!r} does not fit its annotation {hint}"
        return [_plain(item, item_hint) for item, item_hint in zip(value, items, strict=True)]
    return str(value) if isinstance(value, Path) else value


def _read(hint: Any, value: Any, path: str, present: Any) -> Any:
    """``value`` as the annotation wants it, changing ``present`` where it is only a part."""
    classes, value = classes_of(hint), value.tolist() if isinstance(value, Array) else value
    if isinstance(value, str) and any(value == cls.__name__ for cls in classes):
        value = {"type": value}
    if classes and isinstance(value, Mapping):
        return _read_config(classes, value, path, present)
    if isinstance(value, (list, tuple)):
        items = _items(hint, len(value))
        if items is not None:
            return tuple(
                _read(item_hint, item, join(path, str(i)), None)
                for i, (item_hint, item) in enumerate(zip(items, value, strict=True))
            )
    if isinstance(value, Mapping) and isinstance(present, tuple):
        return _read_elements(hint, value, path, present)
    for tried in [value, spelled_out(value)] if isinstance(value, str) else [value]:
        for member in sorted(members_of(hint), key=lambda member: member is not type(tried)):
            if _accepts(member, tried):
                return _convert(member, tried)
    wanted = " or ".join(_wanted(member) for member in members_of(hint))
    raise ValueError(f"setting '{path}' must be {wanted}, not {value!r}{_way_out(hint, value, path)}")


def _way_out(hint: Any, value: Any, path: str) -> str:
    """What may have been meant by a value that does not fit."""
    members, classes = members_of(hint), classes_of(hint)
    if isinstance(value, str) and value.lower() == "none" and NoneType in members:
        return "; none is written null"
    if classes and len(members) == 1:
        first = fields(classes[0])[0].name
        return f"; it has settings of its own, the first of them {join(path, first)}"
    return _YOUR_OWN if classes and isinstance(value, str) else ""


def _read_config(classes: list[type], mapping: Mapping[str, Any], path: str, present: Any) -> Any:
    given = _by_head(mapping, path)
    cls = _chosen(classes, given.pop("type", None), path, present)
    names = [f.name for f in fields(cls)]
    for name in given:
        if name not in names:
            raise ValueError(_unknown(cls, path, name))
    if type(present) is cls:
        values = {name: getattr(present, name) for name in names}
    else:
        values = {f.name: f.default for f in fields(cls) if f.default is not MISSING}
        values |= {f.name: f.default_factory() for f in fields(cls) if f.default_factory is not MISSING}
    hints = hints_of(cls)
    values |= {
        name: _read(hints[name], value, join(path, name), values.get(name)) for name, value in given.items()
    }
    for name in names:
        if name not in values:
            raise ValueError(f"setting '{join(path, name)}' must be given: it has no default")
    return cls(**values)


def _read_elements(
    hint: Any, mapping: Mapping[str, Any], path: str, present: tuple[Any, ...]
) -> tuple[Any, ...]:
    items, elements = _items(hint, len(present)), list(present)
    assert items is not None
    for key, value in _by_head(mapping, path).items():
        if not key.isdigit() or int(key) >= len(present):
            raise ValueError(f"unknown setting '{join(path, key)}': there are {len(present)}, counted from 0")
        elements[int(key)] = _read(items[int(key)], value, join(path, key), elements[int(key)])
    return tuple(elements)


def _by_head(mapping: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Splits dotted keys once: ``{"a.b": 1, "a": {"c": 2}}`` -> ``{"a": {"b": 1, "c": 2}}``."""
    split: dict[str, Any] = {}
    for key, value in mapping.items():
        head, _, rest = str(key).partition(".")
        value = {rest: value} if rest else value
        if head in split:
            if isinstance(value, Mapping) != isinstance(
                split[head], Mapping
            ):  # a part by its name, and its settings
                value, split[head] = ({"type": x} if isinstance(x, str) else x for x in (value, split[head]))
            both = isinstance(value, Mapping) and isinstance(split[head], Mapping)
            twice = [join(head, name) for name in split[head] if name in value] if both else [head]
            if twice:
                raise ValueError(f"setting '{join(path, twice[0])}' is given twice")
            value = {**split[head], **value}
        split[head] = value
    return split


def _chosen(classes: list[type], name: Any, path: str, present: Any) -> type:
    """The member of a slot that is meant: the one named, else the one standing there, else the only one that there
    is, or that there was before others were offered."""
    if name is None and type(present) in classes:
        return type(present)
    offered = [cls for parts in _OFFERED.values() for cls in parts.values()]
    for some in (classes, [cls for cls in classes if cls not in offered]):
        if name is None and len(some) == 1:
            return some[0]
    for cls in classes:
        if cls.__name__ == name:
            return cls
    names = " or ".join(f"'{cls.__name__}'" for cls in classes)
    if name is None:
        raise ValueError(f"setting '{join(path, 'type')}' must be given: {names}")
    raise ValueError(f"setting '{join(path, 'type')}' must be {names}, not {name!r}{_YOUR_OWN}")


def _unknown(cls: type, path: str, name: str) -> str:
    """The sentence for a name that ``cls`` lacks: near names beside it, else the same name further down."""
    names = [f.name for f in fields(cls)]
    further_down = dict.fromkeys(p for p in _paths(cls) if p.split(".")[-1] == name)
    near = get_close_matches(name, names, n=3) or list(further_down)[:3]
    sentence = f"unknown setting '{join(path, name)}'"
    if near:
        return f"{sentence}; did you mean {' or '.join(repr(join(path, n)) for n in near)}?"
    return f"{sentence}; the settings here are {', '.join(names) or 'none'}"


def _paths(cls: type, *above: type) -> Iterator[str]:
    hints = hints_of(cls)
    for field in fields(cls):
        yield field.name
        for member in classes_of(hints[field.name]):
            if member not in (cls, *above):  # a part that wraps another of its slot
                for path in _paths(member, cls, *above):
                    yield f"{field.name}.{path}"


def _accepts(member: Any, value: Any) -> bool:
    if get_origin(member) is Literal:
        return any(type(value) is type(choice) and value == choice for choice in get_args(member))
    if member is int:
        return type(value) is int or (isinstance(value, str) and _COUNT.fullmatch(value.strip()) is not None)
    if member is float:
        return type(value) in (int, float)
    if member in (str, Path):
        return isinstance(value, (str, os.PathLike))
    return type(value) is member


def _convert(member: Any, value: Any) -> Any:
    if member is int and isinstance(value, str):
        return parse_count(value)
    if member is str:
        return os.fspath(value)
    return member(value) if member in (float, Path) else value


def _wanted(member: Any) -> str:
    if get_origin(member) is Literal:
        return " or ".join(repr(choice) for choice in get_args(member))
    if get_origin(member) is tuple:
        args = get_args(member)
        return "a list" if args[-1] is Ellipsis else f"a list of {len(args)}"
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path"}
    words |= {NoneType: "null"}
    return words.get(member) or f"the settings of {member.__name__}"
