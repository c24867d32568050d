"""The pieces that sections of the page are made of: tables, figures, notes, runs side by side."""

from collections.abc import Sequence

from simflow.report.markup import Child, Markup, tag
from simflow.report.svg import COLOURS


def section(key: str, title: str, *children: Child) -> Markup:
    """A section with a heading and a name to link to."""
    return tag("section", tag("h2", title), *children, attributes={"id": key})


def note(*text: Child) -> Markup:
    """A sentence or two on what is seen."""
    return tag("p", *text, attributes={"class": "note"})


def figure(content: Child, title: Child, text: Child = None) -> Markup:
    """Something to look at, and its caption."""
    caption = tag("figcaption", tag("strong", title), None if text is None else [" ", text])
    return tag("figure", tag("div", content, attributes={"class": "plate"}), caption)


def side_by_side(items: Sequence[Child], *, kind: str = "side") -> Markup:
    """Figures beside each other where there is room, below each other elsewhere."""
    return tag("div", *items, attributes={"class": kind})


def run_name(name: str, place: int, count: int) -> Child:
    """A run's name with its colour, or nothing where there is only one run."""
    return None if count == 1 else [swatch(place), name]


def swatch(place: int) -> Markup:
    """The colour of a run."""
    return tag("span", attributes={"class": f"swatch c{place % COLOURS}"})


def table(
    head: Sequence[Child], rows: Sequence[Sequence[Child]], *, title: str, numbers: bool = True
) -> Markup:
    """A table whose first column names the rows.

    Args:
        head: a cell a column; the first stands above the names.
        rows: cells, as many as in the head.
        title: said above it.
        numbers: align the other columns at the right.
    """
    kind = "number" if numbers else None
    top = tag(
        "tr",
        *(
            tag("th", cell, attributes={"scope": "col", "class": kind if place else None})
            for place, cell in enumerate(head)
        ),
    )
    body = [
        tag(
            "tr",
            tag("th", name, attributes={"scope": "row"}),
            *(tag("td", cell, attributes={"class": kind}) for cell in cells),
        )
        for name, *cells in rows
    ]
    made = tag("table", tag("caption", title), tag("thead", top), tag("tbody", *body))
    return tag(
        "div", made, attributes={"class": "scroll", "tabindex": 0, "role": "group", "aria-label": title}
    )


def folded(summary: Child, *content: Child) -> Markup:
    """Something long that is opened by a click."""
    return tag("details", tag("summary", summary), *content)
