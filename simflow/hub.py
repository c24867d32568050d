"""The Hugging Face hub: files and folders, fetched once and kept in its own cache."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from simflow.reasons import reason

ID = re.compile(r"[\w.-]+/[\w.-]+")
"""``owner/name``."""


class OutOfReach(ValueError):
    """The hub does not give what was asked for; it says why."""


def file(repository: str, name: str) -> Path:
    """A file of the repository of a model.

    Raises:
        OutOfReach: the hub does not give it.
    """
    from huggingface_hub import hf_hub_download

    with _asking():
        return Path(hf_hub_download(repository, name))


def folder(
    repository: str,
    *,
    kind: Literal["model", "dataset"] = "model",
    revision: str | None = None,
    only: list[str] | None = None,
    without: list[str] | None = None,
) -> Path:
    """A folder with the files of a repository.

    Args:
        repository: ``owner/name``.
        kind: of what it is.
        revision: branch, tag or commit.
        only: patterns of the files that are wanted; all if None.
        without: patterns of the files that are not.

    Raises:
        OutOfReach: the hub does not give it.
    """
    from huggingface_hub import snapshot_download

    with _asking():
        found = snapshot_download(
            repository, repo_type=kind, revision=revision, allow_patterns=only, ignore_patterns=without
        )
        return Path(found)


@contextmanager
def _asking() -> Iterator[None]:
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        yield
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise OutOfReach(reason(error)) from error
