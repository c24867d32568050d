"""The files of a folder and of all folders below it; links are followed, but not in a circle."""

import logging
import os
from pathlib import Path

from simflow.data.source import Files
from simflow.distributed import is_main

logger = logging.getLogger(__name__)


def list_folder(root: Path) -> Files:
    """Lists ``root`` without opening anything; a link to nowhere is listed with 0 bytes, and a folder that cannot be
    read is left out with a warning."""

    def left_out(error: OSError) -> None:
        if is_main():
            logger.warning(
                "left out of %s: %s, which cannot be read: %s", root, error.filename, error.strerror
            )

    sizes: dict[str, int] = {}
    above = {str(root): frozenset({os.path.realpath(root)})}
    for folder, below, names in os.walk(root, onerror=left_out, followlinks=True):
        passed = above.pop(folder)
        inner = {name: os.path.realpath(os.path.join(folder, name)) for name in below}
        below[:] = [name for name, place in inner.items() if place not in passed]
        above |= {os.path.join(folder, name): passed | {inner[name]} for name in below}
        prefix = Path(folder).relative_to(root).as_posix() + "/"
        for name in names:
            path = os.path.join(folder, name)
            sizes[(prefix + name).removeprefix("./")] = os.path.getsize(path) if os.path.exists(path) else 0
    return Files(sizes=dict(sorted(sizes.items())), read=lambda name: (root / name).read_bytes())
