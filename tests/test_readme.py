"""The README says what is there."""

import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

ROOT = Path(__file__).parent.parent


def test_the_file_tree_is_that_of_the_package():
    """After adding a file: ``python tools/tree.py``."""
    assert (
        subprocess.run([sys.executable, ROOT / "tools" / "tree.py", "--check"], check=False).returncode == 0
    )


def test_what_the_documents_link_to_exists():
    for document in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_the_recipes_that_the_documents_name_exist():
    from simflow import recipes
    from simflow.recipes.after import Stage

    for document in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        text = document.read_text(encoding="utf-8")
        for name in re.findall(r"simflow train ([a-z0-9][a-z0-9-]*)(?![a-z0-9-]|\.py)", text):
            assert recipes.get(name)
        for stage in re.findall(r"simflow train --next ([a-z]+)", text):
            assert stage in get_args(Stage)
