"""Writes the file tree of the package into README.md, a line a module: the first sentence of its docstring.

python tools/tree.py          rewrites the block between the markers
python tools/tree.py --check  exits 1 if the block is not what it would write
"""

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- tree -->\n", "<!-- end of tree -->\n"


def first_sentence(module: Path) -> str:
    """What a module's docstring says first, without its full stop."""
    text = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
    line = " ".join(text.split("\n\n")[0].split())
    if len(line) > 90:
        line = re.split(r"(?<!al)\. |: |; ", line)[0]
    return re.sub(r":\w+:`~?(?:\w+\.)*(\w+)`", r"\1", line).rstrip(".:;").replace("`", "")


def tree(folder: Path, depth: int = 0) -> list[str]:
    """The lines of a package: its modules, then its folders."""
    lines = []
    modules = sorted(p for p in folder.glob("*.py") if p.name not in ("__init__.py", "__main__.py"))
    for module in modules:
        lines.append(f"{'  ' * depth}{module.name:<22} {first_sentence(module)}")
    for child in sorted(p for p in folder.iterdir() if (p / "__init__.py").exists()):
        said = first_sentence(child / "__init__.py")
        lines.append(f"{'  ' * depth}{child.name + '/':<22} {said}".rstrip())
        lines += tree(child, depth + 1)
    return lines


def rewritten(readme: str) -> str:
    """The README with a fresh tree between the markers."""
    before, rest = readme.split(BEGIN)
    _, after = rest.split(END)
    block = "\n".join(["```", "simflow/", *tree(ROOT / "simflow", 1), "```"])
    return f"{before}{BEGIN}{block}\n{END}{after}"


def main() -> int:
    """Rewrites or checks."""
    path = ROOT / "README.md"
    old = path.read_text(encoding="utf-8")
    new = rewritten(old)
    if "--check" in sys.argv:
        return int(old != new)
    path.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
