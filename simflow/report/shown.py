"""What several sections of the report need of runs: names, legends, and their pictures and charts as figures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from simflow.records import at
from simflow.report import inline
from simflow.report.chart import Bars, Chart
from simflow.report.gather import EVALUATION, Run
from simflow.report.markup import Markup
from simflow.report.parts import figure, run_name, side_by_side
from simflow.report.svg import bars, draw, legend


def names_in(runs: Sequence[Run]) -> list[str]:
    """The runs' names."""
    return [run.name for run in runs]


def key_to(runs: Sequence[Run]) -> Markup | None:
    """The colours of the runs; None if there is only one."""
    return legend(names_in(runs))


def drawn(made: Sequence[Chart | Bars]) -> Markup | None:
    """Charts as figures, two or three beside each other."""
    if not made:
        return None
    kind = "charts two" if len(made) in (1, 2, 4) else "charts three"
    figures = [figure(bars(chart) if isinstance(chart, Bars) else draw(chart), chart.title) for chart in made]
    return side_by_side(figures, kind=kind)


def pictured(runs: Sequence[Run], name: str, title: str, text: str) -> list[Markup]:
    """One picture of the analysis of every run that has it."""
    return [
        figure(inline.rows(run.pictures[name]), run_name(run.name, place, len(runs)) or title, text)
        for place, run in enumerate(runs)
        if name in run.pictures
    ]


def sheet_of(run: Run, what: str) -> Path | None:
    """A sheet that is there: the demo's, an evaluation's, or (samples) the training's newest."""
    sheets = [run.folder / f"{what}.png"]
    sheets += [
        path for tree in run.evaluations.values() if (path := picture_file(run, tree, what)) is not None
    ]
    sheets += sorted(run.folder.glob(f"{what}/step-*.png"), reverse=True)
    return next((path for path in sheets if path.is_file()), None)


def picture_file(run: Run, tree: Mapping[str, Any], what: str) -> Path | None:
    """A picture that an evaluation says to have written."""
    file = at(tree, f"files.{what}")
    path = run.folder / EVALUATION / Path(file).name if isinstance(file, str) else None
    return path if path is not None and path.is_file() else None
