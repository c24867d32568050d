"""HTML written by hand, with one function: whatever is not markup already is escaped.

    tag("p", "5 < 6")                          ->  <p>5 &lt; 6</p>
    tag("img", attributes={"src": address})    ->  <img src="...">

Text becomes :class:`Markup` only here, so a class name such as ``<script>`` cannot.
"""

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

VOID = frozenset({"br", "col", "hr", "img", "input", "link", "meta"})
"""Elements that have no content and no closing tag."""


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Child = str | int | None | Iterable[Any]
"""What may stand in an element: text, markup, a whole number, nothing (None), or any number of such children."""


def tag(name: str, *children: Child, attributes: Mapping[str, str | int | None] | None = None) -> Markup:
    """An element with escaped attributes and content.

    Args:
        name: of the element.
        children: its content, in order.
        attributes: by name; those that are None are left out.

    >>> tag("a", "R&D", attributes={"href": "#x", "title": 'say "hi"', "id": None})
    '<a href="#x" title="say &quot;hi&quot;">R&amp;D</a>'
    """
    pairs = "".join(
        f' {key}="{escape(str(value))}"' for key, value in (attributes or {}).items() if value is not None
    )
    if name in VOID:
        assert not children, f"<{name}> has no content"
        return Markup(f"<{name}{pairs}>")
    return Markup(f"<{name}{pairs}>{join(children)}</{name}>")


def join(children: Child) -> Markup:
    """The content one after the other.

    >>> join(["a < b", None, tag("br"), [1, "2"]])
    'a &lt; b<br>12'
    """
    if children is None:
        return Markup("")
    if isinstance(children, Markup):
        return children
    if isinstance(children, str | int):
        return Markup(escape(str(children)))
    return Markup("".join(join(child) for child in children))
