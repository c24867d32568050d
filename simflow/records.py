"""Records, the trees of plain values that JSON and YAML hold, and the dotted paths in them.

Settings written down (:func:`simflow.settings.to_dict`) are such trees, and so is everything that a run or an
evaluation says of itself. A path names the way down, the elements of lists by their numbers: ``train.stages.0.steps``.
"""

from collections.abc import Iterator, Mapping
from typing import Any

Record = Mapping[str, Any]


def join(path: str, name: str) -> str:
    """The path one step further down."""
    return f"{path}.{name}" if path else name


def differences(a: Record, b: Record) -> list[str]:
    """Dotted paths where two records differ; of a part of another type, only that.

    A setting that one of them lacks is as if it were null there, and a part without a type as if it were of the
    other's: a run made before there was such a setting or such a choice.

    >>> differences({"lr": 1, "net": {"type": "A", "x": 1}}, {"lr": 1, "net": {"type": "B"}})
    ['net.type']
    >>> differences({"net": {"x": 1}}, {"net": {"type": "B", "x": 2}})
    ['net.x']
    """
    return list(_differences(a, b, ""))


def leaves(record: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted paths and values of a record; lists are values.

    >>> list(leaves({"a": {"b": 1}, "c": [2, 3]}))
    [('a.b', 1), ('c', [2, 3])]
    """
    if isinstance(record, Mapping):
        for name, value in record.items():
            yield from leaves(value, join(path, str(name)))
    else:
        yield path, record


def at(record: Any, path: str, absent: Any = None) -> Any:
    """What stands at a dotted path of a record; ``absent`` where there is nothing.

    >>> at({"a": [{"b": 1}]}, "a.0.b"), at({"a": None}, "a.b"), at({}, "a", "nothing")
    (1, None, 'nothing')
    """
    for name in path.split("."):
        if isinstance(record, list):
            record = {str(number): value for number, value in enumerate(record)}
        if not isinstance(record, Mapping) or name not in record:
            return absent
        record = record[name]
    return record


def value_at(record: Any, path: str) -> str:
    """The value at a dotted path of a record, shortly; ``nothing`` where there is none.

    >>> value_at({"a": [{"b": 1}]}, "a.0.b"), value_at({"a": 1}, "b")
    ('1', 'nothing')
    """
    text = str(at(record, path, "nothing"))
    return text if len(text) <= 60 else f"{text[:57]}..."


def differing(there: Any, here: Any, path: str) -> str:
    """How two records differ at a dotted path, in words.

    >>> differing({"a": 1}, {"a": 2}, "a")
    'a is 1 there and 2 here'
    """
    return f"{path} is {value_at(there, path)} there and {value_at(here, path)} here"


def _differences(a: Any, b: Any, path: str) -> Iterator[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        if a.get("type", b.get("type")) != b.get("type", a.get("type")):
            yield join(path, "type")
            return
        for name in dict.fromkeys([*a, *b]):
            if name == "type":
                continue
            if name in a and name in b:
                yield from _differences(a[name], b[name], join(path, name))
            elif a.get(name) != b.get(name):
                yield join(path, name)
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            yield from _differences(x, y, join(path, str(i)))
    elif a != b:
        yield path
