"""The first part of the report: which runs, and their figures."""

from collections.abc import Mapping, Sequence
from typing import Any

from simflow.records import at
from simflow.report.chart import Bar, Bars
from simflow.report.gather import Run
from simflow.report.markup import Child, Markup, tag
from simflow.report.parts import figure, note, run_name, section, side_by_side, swatch, table
from simflow.report.results import Result, best, number, of_another_step, of_evaluation, rounded
from simflow.report.svg import bars

TILES = 10
"""Most figures shown large."""

ENDS = 10
"""Of many classes, this many of the least and of the most recognised are shown."""

ARROWS = {"lower": " ↓", "higher": " ↑", None: ""}


def runs(found: Sequence[Run]) -> Markup:
    """What the runs are, a column each."""
    head = ["", *([swatch(place), run.name] for place, run in enumerate(found))]
    rows = [
        [title, *cells]
        for title, cells in ((title, [say(run) for run in found]) for title, say in FACTS)
        if any(cell is not None for cell in cells)
    ]
    rows = [[title, *("–" if cell is None else cell for cell in cells)] for title, *cells in rows]
    if len(found) == 1:
        pairs = [tag("div", tag("dt", title), tag("dd", cell)) for title, cell in rows]
        return tag("dl", *pairs, attributes={"class": "facts"})
    return table(head, rows, title="Runs", numbers=False)


def figures(found: Sequence[Run]) -> Markup | None:
    """All figures: large for one run, and in a table with what belongs to them."""
    results = [results_of(run) for run in found]
    keys = list(dict.fromkeys((each.source, each.name) for own in results for each in own))
    if not keys:
        return None
    by_key = [{(each.source, each.name): each for each in own} for own in results]
    content: list[Child] = []
    if len(found) == 1:
        content += [tiles(results[0]), earlier(found[0], results[0])]
    if len(found) > 1 or len(keys) > TILES:
        content.append(comparison(found, keys, by_key))
    content.append(
        note(
            "An arrow says which way is better. Standard errors (±) know of the images that were drawn, not of the "
            "training. Real is what the same measure gives for real images in the place of samples.",
            " † Fewer images than numbers in a feature: a large bias, so compare only equal numbers of images."
            if any(each.deficient for own in results for each in own)
            else None,
        )
    )
    content += [terms(found)]
    content.append(classes(found))
    return section("figures", "Figures", *content)


def results_of(run: Run) -> list[Result]:
    """Every figure of a run."""
    return [each for name, tree in run.evaluations.items() for each in of_evaluation(name, tree)]


def large(results: Sequence[Result]) -> list[Result]:
    """Those that are shown as tiles: the first of each name, so those of the newest evaluation that has them."""
    first: dict[str, Result] = {}
    for each in results:
        first.setdefault(each.name, each)
    return list(first.values())[:TILES]


def earlier(run: Run, results: Sequence[Result]) -> Child:
    """A sentence for each evaluation of another step than the newest whose figures are shown as tiles."""
    said = []
    for source in dict.fromkeys(each.source for each in large(results)):
        step = at(run.evaluations.get(source), "run.step")
        said += of_another_step(f"Figures from {source} are", step, run.state)
    return note(" ".join(said)) if said else None


def tiles(results: Sequence[Result]) -> Markup:
    """The first of them in large type, the first of each name; with their sources, if there are several."""
    several = len({each.source for each in results}) > 1
    made = []
    for each in large(results):
        value, _, error = rounded(each.value, each.error).partition(" ± ")
        beside = [
            f"± {error}" if error else "",
            f"real {rounded(each.floor)}" if each.floor is not None else "",
            f"from {each.source}" if several else "",
        ]
        made.append(
            tag(
                "li",
                tag("span", each.name, ARROWS[each.better], " †" if each.deficient else None),
                tag("span", value, attributes={"class": "large"}),
                tag("span", ", ".join(filter(None, beside)) or "\u00a0"),
            )
        )
    return tag("ul", *made, attributes={"class": "tiles"})


def comparison(
    found: Sequence[Run],
    keys: Sequence[tuple[str, str]],
    by_key: Sequence[dict[tuple[str, str], Result]],
) -> Markup:
    """A row per figure and a column per run; the best in bold."""
    rows: list[list[Child]] = []
    for key in keys:
        own = [results.get(key) for results in by_key]
        first = next(each for each in own if each is not None)
        winner = best(own)
        cells: list[Child] = []
        for place, each in enumerate(own):
            text = "–" if each is None else rounded(each.value, each.error)
            cells.append(tag("strong", text) if place == winner else text)
        floors = list(dict.fromkeys(rounded(each.floor) for each in own if each and each.floor is not None))
        mark = " †" if any(each is not None and each.deficient for each in own) else None
        rows.append([[first.name, ARROWS[first.better], mark], *cells, " / ".join(floors) or "–", key[0]])
    head = ["", *(run_name(run.name, i, len(found)) or "value" for i, run in enumerate(found))]
    return table([*head, "real images", "from"], rows, title="All figures")


def terms(found: Sequence[Run]) -> Child:
    """What the figures of evaluations were taken of, a line each."""
    lines = []
    for place, run in enumerate(found):
        for name, tree in run.evaluations.items():
            said = _terms(tree)
            if said:
                of = [run_name(run.name, place, len(found)), ", "] if len(found) > 1 else None
                warned = "".join(f" Note: {sentence}." for sentence in tree.get("notes") or ())
                lines.append(tag("li", of, tag("strong", name), f": {said}.{warned}"))
    return tag("ul", *lines, attributes={"class": "note"}) if lines else None


def _terms(tree: Mapping[str, Any]) -> str:
    """Counts, seeds, guidance and networks, those that are known."""
    seeds, guidance = at(tree, "samples.seeds"), at(tree, "samples.guidance")
    count, real = at(tree, "samples.count"), at(tree, "reference.count")
    parts = [
        None if count is None else f"{count} samples",
        None if seeds is None else f"seeds {seeds}",
        None if guidance is None else f"guidance {guidance}",
        None if real is None else f"against {real} images of {at(tree, 'reference.source')}",
        *(f"features of {name}" for name in _networks(tree)),
        None if at(tree, "run.step") is None else f"step {at(tree, 'run.step')}",
        None if at(tree, "made_by.date") is None else f"made {str(at(tree, 'made_by.date'))[:10]}",
    ]
    return ", ".join(part for part in parts if part is not None)


def _networks(tree: Mapping[str, Any]) -> list[str]:
    parts = tree.get("generation")
    found = [at(part, "extractor.network") for part in parts if isinstance(part, Mapping)] if parts else []
    return [str(name) for name in found if name is not None]


def classes(found: Sequence[Run]) -> Child:
    """The accuracy on the samples of each class, where an evaluation has measured it."""
    made = []
    for place, run in enumerate(found):
        measured = [at(tree, "classes.by_class") for tree in run.evaluations.values()]
        shares = next(filter(None, measured), {})
        known = {name: share for name, each in shares.items() if (share := number(each)) is not None}
        if not known:
            continue
        text = "Share of samples that a classifier of real images takes for the class asked for."
        order = sorted(known, key=lambda name: known[name])
        if len(order) > 2 * ENDS:
            shown = [*order[:ENDS], *order[-ENDS:]]
            text += f" The {ENDS} least and the {ENDS} most recognised of {len(order)} classes."
        else:
            shown = list(known)
        chart = Bars(
            title="Class accuracy by class",
            bars=tuple(Bar(label=name, value=known[name], colour=place) for name in shown),
            says="; ".join(f"{name} {rounded(known[name])}" for name in shown) + ".",
        )
        title = run_name(run.name, place, len(found)) or "Class accuracy by class."
        made.append(figure(bars(chart), title, text))
    return side_by_side(made, kind="charts two") if made else None


def _step(run: Run) -> str | None:
    return None if "step" not in run.state else f"{run.state['step']:,}".replace(",", " ")


def _seen(run: Run) -> str | None:
    seen = run.state.get("images_seen")
    return None if seen is None else f"{seen:,}".replace(",", " ")


def _images(run: Run) -> str:
    size, channels = run.facts["image_size"], run.facts["channels"]
    return f"{size} × {size}, {'gray' if channels == 1 else 'colour'}; {at(run.settings, 'data.path')}"


def _classes(run: Run) -> str:
    return str(len(run.facts["class_names"]) or "none")


def _parameters(run: Run) -> str | None:
    if not run.sizes:
        return None
    parts = (f"{name} {_millions(size)}" for name, size in run.sizes.items() if name != "total")
    return f"{_millions(run.sizes['total'])} ({', '.join(parts)})"


def _trained(run: Run) -> str | None:
    seconds = number(at(run.state, "extra.seconds"))
    if seconds is None:
        return None
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 600 else f"{minutes // 60} h {minutes % 60} min"


def _software(run: Run) -> str | None:
    if not run.state:
        return None
    version = run.state.get("simflow")
    if version in (None, "not installed"):  # as earlier versions wrote it
        version = "from source"
    return f"simflow {version}, torch {run.state.get('torch')}"


def _git(run: Run) -> Child:
    revision = run.state.get("git")
    return None if not revision else tag("code", str(revision)[:12], attributes={"title": str(revision)})


def _millions(number: int) -> str:
    return f"{number / 1e6:.3g} M" if number < 1e9 else f"{number / 1e9:.3g} G"


FACTS = (
    ("Images", _images),
    ("Classes", _classes),
    ("Parameters", _parameters),
    ("Step", _step),
    ("Images seen", _seen),
    ("Training took", _trained),
    ("Software", _software),
    ("Git revision", _git),
)
"""What is said of a run, where it is known."""
