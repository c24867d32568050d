"""Image sets on the Hugging Face hub, fetched once and kept in the hub's own cache: ``hub:OWNER/NAME``."""

import re
from pathlib import Path

from simflow import hub

PREFIX = "hub:"
NAMED = re.compile(r"hub:([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")


def fetched(path: str) -> Path:
    """The folder with the files of ``hub:OWNER/NAME`` or ``hub:OWNER/NAME@REVISION``, without code and cards.

    Raises:
        ValueError: the name is of another form, or the hub does not give it.
    """
    named = NAMED.fullmatch(path)
    if named is None:
        raise ValueError(
            f"a set on the hub is hub:OWNER/NAME, or with a revision hub:OWNER/NAME@REVISION, not {path}"
        )
    try:
        return hub.folder(named[1], kind="dataset", revision=named[2], without=["*.py", "*.md"])
    except hub.OutOfReach as error:
        raise ValueError(f"the hub gave no image set of the name {named[1]}: {error}") from error
