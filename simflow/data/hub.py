"""Image sets on the Hugging Face hub, fetched once and kept in the hub's own cache: ``hub:OWNER/NAME``."""

import re
from pathlib import Path

from simflow.reasons import reason

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
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        folder = snapshot_download(
            named[1], repo_type="dataset", revision=named[2], ignore_patterns=["*.py", "*.md"]
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise ValueError(f"the hub gave no image set of the name {named[1]}: {reason(error)}") from error
    return Path(folder)
