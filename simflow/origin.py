"""Which SimFlow this is, for the records that it writes: the version that is installed, and the commit."""

import subprocess
from importlib import metadata
from pathlib import Path


def version(package: str = "simflow") -> str | None:
    """That of an installed package; None if it is not installed, as when SimFlow runs from its source."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def git_revision() -> str | None:
    """The commit of the checkout that this package is part of, ``+`` appended if its files differ; None outside one.

    Only a ``.git`` beside the package's folder counts: one further up is that of whoever has the package installed
    in a project.
    """
    package = Path(__file__).resolve().parent
    if not (package.parent / ".git").exists():
        return None
    try:
        revision = _git(package.parent, "rev-parse", "HEAD")
        changed = _git(package.parent, "status", "--porcelain", "--untracked-files=no", "--", package.name)
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{revision}+" if changed else revision


def _git(root: Path, *words: str) -> str:
    """What git says of this checkout, whatever git's own variables name; it locks nothing."""
    place = ("--no-optional-locks", f"--git-dir={root / '.git'}", f"--work-tree={root}")
    done = subprocess.run(["git", *place, *words], cwd=root, capture_output=True, text=True, check=True)
    return done.stdout.strip()
