"""``simflow study NAME``: a table of the paper again: several recipes, one budget, several seeds, and verdicts."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from simflow import distributed
from simflow.cli import STOPPED
from simflow.cli.bars import counting
from simflow.cli.held_out import check_data
from simflow.cli.shared_arguments import Device
from simflow.cli.talk import talking
from simflow.cli.train import listeners
from simflow.cli.words import parse_seeds
from simflow.files import read_json
from simflow.settings import parse_count
from simflow.study.budget import FILE, Budget, hold_to
from simflow.study.columns import column
from simflow.study.layout import StudyFolder
from simflow.study.named import get, studies
from simflow.study.report import write_all
from simflow.study.study import Scale, Study
from simflow.study.worker import Outcome, desk_for, work


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Runs a study: its rows are trained alike with several seeds, judged alike, and set against the paper's orders.

    The folder then holds table.md, table.json, plot.svg, sheet.png, and under runs/ ordinary run folders. Without a
    name the studies are listed. The same command again goes on where it was stopped; started several times at once,
    the processes share the work run by run (one thread each, OMP_NUM_THREADS=1, is fastest on a few cores). More seeds
    and rows may be asked for later; steps, samples, data and settings must stay.

    Dotted flags change a setting of every row, such as --train.batch 64. Exit code 1: a row failed; table.md says why.
    """

    name: Positional[str | None] = None
    """Which study."""
    data: str | None = None
    """Where the images are, if not where the recipes have them."""
    out: Path | None = None
    """The study's folder; studies/NAME if not given."""
    seeds: str = "0,1,2"
    """Seeds of the trainings."""
    steps: str | None = None
    """Length of each run, and of each autoencoder before one; the recipes' own if not given."""
    num: Annotated[int, arg(aliases=["-n"])] = 1000
    """Samples of each run that are judged, once guided and once not."""
    rows: str | None = None
    """Only these rows, with commas."""
    scale: Scale = "small"
    """small: the demo's system on Fashion-MNIST. paper: the published one; bring data and GPUs."""
    extractor: str = "efficientnet-lite0"
    """Feature network of the Fréchet distances, as for simflow evaluate; or none."""
    held_out: int = 1000
    """Most held-out images that are reconstructed."""
    reference_num: int = 5000
    """Most training images that samples are compared with."""
    keep_samples: bool = False
    """Leave the samples that were judged in OUT/samples."""
    table_only: bool = False
    """Train and judge nothing: write the table of what is there."""
    device: Device = "auto"


def run(arguments: Arguments, settings: Mapping[str, Any]) -> int:
    """Works, and says what came of it."""
    if arguments.name is None:
        print("\n".join(listing(arguments.scale)))
        return 0
    study = get(arguments.name, arguments.scale)
    out = arguments.out or Path("studies") / study.name
    budget = Budget(
        study=study.name,
        scale=arguments.scale,
        steps=None if arguments.steps is None else parse_count(arguments.steps),
        num=arguments.num,
        held_out=arguments.held_out,
        reference_num=arguments.reference_num,
        extractor=arguments.extractor,
        data=arguments.data,
        settings=settings,
    )
    if arguments.table_only:
        if not (out / FILE).is_file():
            raise ValueError(f"there is no study in '{out}'")
        hold_to(out, budget)
        write_all(study, StudyFolder(out), budget)
        print("\n".join(summary(out)))
        return 0
    check_data(budget.configure(study.rows[0], seed=0).data)
    names = [name.strip() for name in (arguments.rows or "").split(",") if name.strip()]
    with distributed.launch(arguments.device) as device, talking() as console:
        outcome = work(
            study,
            budget,
            out,
            seeds=parse_seeds(arguments.seeds),
            rows=names,
            desk=desk_for(device, partial(counting, console)),
            listeners=lambda run, objective, config: listeners(run, objective, config, console, ()),
            keep_samples=arguments.keep_samples,
        )
        if distributed.is_main():
            print("\n".join(told(study, outcome, out)))
    return STOPPED if outcome.stopped else 1 if outcome.failed else 0


def listing(scale: Scale) -> list[str]:
    """A line a study."""
    known = studies(scale)
    width = max(map(len, known))
    return [f"{name:<{width}}  {len(study.rows)} rows: {study.says}" for name, study in known.items()]


def told(study: Study, outcome: Outcome, out: Path) -> list[str]:
    """What came of a call."""
    if outcome.stopped:
        return [f"stopped and saved; the same command goes on with {out}"]
    lines = [f"failed: {name}: {said}" for name, said in outcome.failed.items()]
    if outcome.left:
        lines.append(f"{outcome.left} runs of {study.name} are left to other processes")
    return [*lines, *summary(out)]


def summary(out: Path) -> list[str]:
    """The verdicts in a line each, and where the table is."""
    record = read_json(out / "table.json")
    labels = {row["name"]: row["label"] for row in record["rows"]}
    lines = []
    for each in record["orderings"]:
        why = f" ({each['why']})" if each["why"] else ""
        order = f"{labels[each['better']]} beats {labels[each['worse']]} by {column(each['figure']).title}"
        lines.append(f"{each['answer']:<13}  {order}{why}")
    return [*lines, "", f"table: {out / 'table.md'}"]
