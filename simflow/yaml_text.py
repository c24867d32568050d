"""YAML, the text that settings are written in: a file or a flag's value read, a record written.

What is read is plain: mappings, lists, numbers, words. What they mean, :mod:`simflow.settings` knows.
"""

import re
from pathlib import Path
from typing import Any

import yaml

_FLOAT = re.compile(r"[-+]?(\d+\.\d*|\.\d+|\d+)[eE][-+]?\d+")


def load_yaml(path: str | Path) -> dict[str, Any]:
    """The settings in a YAML (or JSON) file. Unlike plain YAML 1.1, ``1e-4`` is a number.

    Raises:
        ValueError: no such file, not YAML, or not a mapping.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no settings file '{path}'")
    try:
        loaded = parse_yaml(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError) as error:  # bytes that are no text, the 31st of June
        raise ValueError(f"'{path}' is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(loaded, dict):
        raise ValueError(f"'{path}' must hold settings, one 'name: value' a line")
    return loaded


def parse_yaml(text: str) -> Any:
    """The value of a piece of YAML, such as a flag's argument: ``"1e-4"``, ``"[1, 2]"``, ``"null"``."""

    class Loader(yaml.SafeLoader):
        """YAML 1.1 takes 1e-4 for a word, since it has no dot; here it is a number."""

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("+-.0123456789"))
    return yaml.load(text, Loader)


def dump_yaml(record: dict[str, Any]) -> str:
    """A record (:func:`simflow.settings.to_dict`) as YAML, in its own order."""
    return yaml.safe_dump(record, sort_keys=False, allow_unicode=True)
