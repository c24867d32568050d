"""``simflow report RUN ...``: one HTML file with everything that the folders of runs hold."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from simflow import pretrained
from simflow.analysis.origin import names_of, software
from simflow.cli.words import refuse_settings
from simflow.report.gather import gather
from simflow.report.page import write


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Writes one HTML file on one or several runs, side by side: settings, figures, loss curves, samples by class,
    guidance sweep, reconstructions, latents, noise, nearest training images.

    It is made of what the run folders hold (simflow train, demo, evaluate, analyze); nothing is computed. What is not
    there is left out and said. The file needs no network: images and style are inside. It can be printed.
    """

    runs: Positional[tuple[str, ...]]
    """Run folders, or names of models that come with the package, in the order of their columns and colours."""
    out: Path = Path("report.html")
    """The HTML file."""
    analysis: tuple[Path, ...] = ()
    """Folders of simflow analyze, one for each run in the same order; RUN/analysis if not given."""


def run(arguments: Arguments, settings: Mapping[str, Any]) -> int:
    """Gathers, writes and says what is not in it."""
    refuse_settings(settings, "report")
    if not arguments.runs:
        raise ValueError("say which run to report on: a run folder")
    if arguments.analysis and len(arguments.analysis) != len(arguments.runs):
        raise ValueError(
            f"{len(arguments.analysis)} analyses for {len(arguments.runs)} runs: give one for each, or none"
        )
    if arguments.out.suffix not in (".html", ".htm"):
        raise ValueError(f"the name of a report must end in .html, and {arguments.out} does not")
    analyses = arguments.analysis or (None,) * len(arguments.runs)
    names = names_of(list(arguments.runs))
    found = [
        gather(folder_of(run), name, analysed=analysed)
        for run, name, analysed in zip(arguments.runs, names, analyses, strict=True)
    ]
    moment = datetime.now().astimezone()
    date = f"{moment.day} {moment:%B %Y, %H:%M %Z}"
    write(arguments.out, found, date=date, software=software())
    size = arguments.out.stat().st_size / 1e6
    print(f"report on {', '.join(names)} in {arguments.out} ({size:.1f} MB)")
    for each in found:
        for line in each.left_out:
            print(f"not in it: {each.name + ': ' if len(found) > 1 else ''}{line}")
    return 0


def folder_of(run: str) -> Path:
    """The folder of a run, or of a model that comes with the package.

    Raises:
        ValueError: there is neither.
    """
    if Path(run).is_dir():
        return Path(run)
    shipped = pretrained.find(run)
    if shipped is None:
        raise ValueError(f"there is no run in '{run}'{pretrained.hint(run)}")
    return shipped
