"""Writes what a study has come to so far: ``table.md`` and ``table.json``, and ``plot.svg`` and ``sheet.png``."""

from simflow.canvas import can_plot
from simflow.export import save_picture
from simflow.files import read_json, replacing
from simflow.study import layout
from simflow.study.budget import Budget
from simflow.study.layout import StudyFolder
from simflow.study.plot import plot
from simflow.study.sheet import sheet
from simflow.study.study import Study
from simflow.study.table import markdown, tabled


def write_table(study: Study, folder: StudyFolder, budget: Budget) -> None:
    """Writes the table of all runs that have figures, whoever made them; one process at a time."""
    with folder.lock("table"):
        records = folder.records([row.name for row in study.rows])
        reference = read_json(folder.reference) if folder.reference.is_file() else {}
        layout.write(folder.path / "table.json", tabled(study, budget, records, reference))
        with replacing(folder.path / "table.md") as part:
            part.write_text(markdown(study, budget, records, reference), encoding="utf-8")


def write_all(study: Study, folder: StudyFolder, budget: Budget) -> None:
    """Writes the table and draws the pictures; the plot only where matplotlib is installed."""
    write_table(study, folder, budget)
    with folder.lock("table"):
        if can_plot():
            plot(study, folder.records([row.name for row in study.rows]), folder.path / "plot.svg")
        picture = sheet(study, folder)
        if picture is not None:
            save_picture(picture, folder.path / "sheet.png")
