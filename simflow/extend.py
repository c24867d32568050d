"""Files and modules that users bring along, imported once and because they are named.

What they define and offer is then there as if it were in the package. A person names them, as a recipe
(``mine.py:laplace``, ``package.module:laplace``) or in ``SIMFLOW_IMPORT``; nothing that is read does: a run's
``config.json`` is data, also where it names a class that only such a file knows. This file knows nothing of recipes and
settings.
"""

import re
import sys
from collections.abc import Callable
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from itertools import dropwhile
from pathlib import Path
from traceback import walk_tb
from types import FunctionType, ModuleType
from typing import Any

VARIABLE = "SIMFLOW_IMPORT"
"""The environment variable with the files and modules that the command imports before it does anything."""

_FUNCTION = re.compile(r"(.+\.py|\w+(?:\.\w+)*):(\w+)")


def names_function(word: str) -> bool:
    """Whether a word is of the form of a function in a file or a module.

    >>> [names_function(word) for word in ("sub/mine.py:laplace", "lab.flows:laplace", "mine.py", "runs/a:b")]
    [True, True, False, False]
    """
    return _FUNCTION.fullmatch(word) is not None


def function(word: str) -> Callable[[], Any]:
    """The function that ``mine.py:laplace`` or ``package.module:laplace`` means.

    Raises:
        ValueError: as :func:`imported`; or there is no such function in it.
    """
    match = _FUNCTION.fullmatch(word)
    assert match is not None, f"{word} is not of this form"
    place, name = match.groups()
    module = imported(place)
    meant = vars(module).get(name)
    if callable(meant):
        return meant
    own = [name for name, value in vars(module).items() if is_own_function(value, module)]
    near = get_close_matches(name, own, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(own) or 'none'}"
    raise ValueError(f"there is no function '{name}' in '{place}'; {hint}")


def is_own_function(value: object, module: ModuleType) -> bool:
    """Whether this is a function that the module defines and does not hide."""
    return (
        isinstance(value, FunctionType)
        and value.__module__ == module.__name__
        and not value.__name__.startswith("_")
    )


def import_all(places: str) -> None:
    """Imports files and modules named with commas, as :data:`VARIABLE` holds them.

    Raises:
        ValueError: one cannot be imported.
    """
    for place in filter(None, map(str.strip, places.split(","))):
        try:
            imported(place)
        except ValueError as error:
            raise ValueError(f"{VARIABLE}: {error}") from error


def imported(place: str) -> ModuleType:
    """The module that is a file ``mine.py``, or goes by the name ``package.module`` from here; imported once.

    It can import what is beside it, unless something that is installed goes by the same name.

    Raises:
        ValueError: there is no such file, or it cannot be imported; the sentence says at which line.
    """
    file = Path(place).resolve() if place.endswith(".py") else None
    if file is not None and not file.is_file():
        raise ValueError(f"there is no file '{place}' to import")
    folder = str(Path.cwd() if file is None else file.parent)
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        return import_module(place) if file is None else module_of(file)
    except (Exception, SystemExit) as error:
        raise ValueError(f"'{place}' cannot be imported: {said(error)}") from error


def module_of(file: Path) -> ModuleType:
    """The module of a file: the one that is loaded; else a new one under the name by which it would be imported, or
    under its whole path where another module goes by that name."""
    stem, path = file.stem, str(file)
    for name in ("__main__", stem, path):
        if is_from(getattr(sys.modules.get(name), "__file__", None), file):
            return sys.modules[name]
    found = None if stem in sys.modules or "." in stem else find_spec(stem)
    name = stem if found is not None and is_from(found.origin, file) else path
    spec = spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def is_from(origin: str | None, file: Path) -> bool:
    """Whether a module's origin is this file."""
    return origin is not None and Path(origin).resolve() == file


def said(error: BaseException) -> str:
    """What was wrong on the way of an import, and at which line of the file that was imported."""
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg} (line {error.lineno} of {error.filename})"
    what = f"{type(error).__name__}: {' '.join(str(error).split())}"
    lines = [(frame.f_code.co_filename, line) for frame, line in walk_tb(error.__traceback__)]
    below = list(dropwhile(is_importing, dropwhile(lambda line: not is_importing(line), lines)))
    if not below:
        return what
    file = below[0][0]
    return f"{what} (line {[line for name, line in below if name == file][-1]} of {file})"


def is_importing(line: tuple[str, int]) -> bool:
    """Whether a line of a traceback is of Python's own importing."""
    return line[0].startswith("<frozen importlib")
