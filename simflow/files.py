"""Files that are whole or not there at all, the JSON objects in them, and the user's cache folder.

This file does not know what is in a file: what a damaged one means, and what to do about it, its reader says.
"""

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any

FULL = (errno.ENOSPC, errno.EDQUOT)
"""What the system says of a disk, or of a user's share of it, that has no room left."""


class NoObject(ValueError):
    """What a file holds is JSON, but no object."""


def at_home(path: str | Path) -> Path:
    """The path with ``~`` spelled out, as a shell does it and a program's text has it not; a user whom the system does
    not know stays as written."""
    return Path(os.path.expanduser(path))


@contextmanager
def replacing(path: Path, *, alone: bool = True) -> Iterator[Path]:
    """Lends a temporary name beside ``path``; what was written there becomes ``path`` when the block ends.

    After an error the temporary file is removed and ``path`` is as it was; one of a full disk, which the system raises
    without a name, names ``path``. Where a process is not ``alone``, others may
    write the same file at the same time: each has a name of its own, and the last one's stays.
    """
    part = part_of(path)
    if not alone:
        part = part.with_name(f"{part.name}-{os.getpid()}")
    try:
        yield part
        os.replace(part, path)
    except OSError as error:
        if error.errno in FULL and error.filename is None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        part.unlink(missing_ok=True)


def require_writable(path: Path) -> None:
    """Finds out before a long work whether its result can be written; its folder is made if need be.

    Raises:
        OSError: it cannot.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path.parent)) from error
    part = part_of(path)
    part.touch()
    part.unlink()


def part_of(path: Path) -> Path:
    """Where a file stands until it is whole."""
    return path.with_name(f".part-{path.name}")


def read_json(file: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        OSError: there is no such file, or it cannot be read.
        NoObject: it holds JSON of another kind.
        ValueError: it is damaged; ``__cause__`` is what the parser says, without the file's name.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"'{file}' is damaged: {error}") from error
    if not isinstance(found, dict):
        raise NoObject(f"'{file}' is damaged: it holds no JSON object")
    return found


def write_json(file: Path, content: dict[str, Any]) -> None:
    """Writes a JSON object, indented, whole or not at all; its folder is there."""
    with replacing(file) as part:
        part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def cache_folder() -> Path:
    """What can be made again for this user: ``simflow`` below ``$XDG_CACHE_HOME``, or else below ``~/.cache``.

    Raises:
        RuntimeError: there is no home folder.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "simflow"


def made_of(path: Path, what: str, *about: object, ending: str) -> Path:
    """Where in the cache folder's folder ``what`` that is which was made of a file as it is now, and of ``about``.

    Raises:
        OSError: there is no such file.
        RuntimeError: there is no home folder.
    """
    real = path.resolve()
    known = (str(real), real.stat().st_size, real.stat().st_mtime_ns, *about)
    return cache_folder() / what / f"{blake2b(repr(known).encode(), digest_size=16).hexdigest()}{ending}"
