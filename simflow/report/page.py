"""The report: one HTML file on one or several runs, which needs nothing but a browser.

    simflow report runs/a runs/b --out report.html

The style sheet and all images are inside. A content security policy forbids the page to load or run anything, so a
report may be sent around, and text from a run's files (class names, paths) can do nothing even if it tries; it is
escaped anyway (:mod:`simflow.report.markup`). Light or dark follows the reader's system; paper is light.
"""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from simflow.analysis.origin import Software
from simflow.files import replacing
from simflow.report import insides, looks, origins, summary
from simflow.report.gather import Run
from simflow.report.markup import Markup, tag

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""Nothing but pictures and styles that are in the page."""


def page(runs: Sequence[Run], *, date: str, software: Software) -> str:
    """The whole document.

    Args:
        runs: at least one, the order of their colours.
        date: when it is made, in words.
        software: what makes it.
    """
    revision = f", git {software.git[:12]}" if software.git else ""
    by = f"simflow {software.simflow or 'from source'}, torch {software.torch}, Python {software.python}{revision}"
    sections = [
        summary.figures(runs),
        looks.samples(runs),
        looks.guidance(runs),
        looks.reconstructions(runs),
        insides.latents(runs),
        insides.noise(runs),
        looks.trajectories(runs),
        looks.neighbours(runs),
        insides.likelihood(runs),
        insides.losses(runs),
        origins.configuration(runs),
        origins.left_out(runs),
        origins.provenance(runs, date=date, software=by),
    ]
    there = [each for each in sections if each is not None]
    title = " and ".join(run.name for run in runs) if len(runs) < 3 else f"{len(runs)} runs"
    style = resources.files("simflow.report").joinpath("style.css").read_text(encoding="utf-8")
    head = tag(
        "head",
        tag("meta", attributes={"charset": "utf-8"}),
        tag("meta", attributes={"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        tag("meta", attributes={"http-equiv": "Content-Security-Policy", "content": POLICY}),
        tag("meta", attributes={"name": "color-scheme", "content": "light dark"}),
        tag("title", f"SimFlow report: {title}"),
        tag("style", Markup(style)),
    )
    header = tag(
        "header",
        tag("p", "SimFlow report", attributes={"class": "kicker"}),
        tag("h1", title),
        tag("p", f"Made {date}.", attributes={"class": "when"}),
        summary.runs(runs),
    )
    body = tag("body", header, contents(there), tag("main", *there))
    return f"<!DOCTYPE html>\n{tag('html', head, body, attributes={'lang': 'en'})}\n"


def contents(sections: Sequence[Markup]) -> Markup:
    """Links to the sections, from their own names and headings."""
    links = []
    for each in sections:
        key = each.split('id="', 1)[1].split('"', 1)[0]
        title = Markup(each.split("<h2>", 1)[1].split("</h2>", 1)[0])
        links.append(tag("li", tag("a", title, attributes={"href": f"#{key}"})))
    return tag("nav", tag("ol", *links), attributes={"aria-label": "Contents"})


def write(path: Path, runs: Sequence[Run], *, date: str, software: Software) -> None:
    """Writes the document to a file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        part.write_text(page(runs, date=date, software=software), encoding="utf-8")
