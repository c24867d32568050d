"""``python -m benchmarks SUBJECT``: measures, prints a table in Markdown, writes records (JSON), table and plot.

Records and table are written as they come, so what was measured before an interruption is not lost.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import torch

from benchmarks import growth, guidance, loader, sampling, training
from benchmarks.ceilings import Ceilings, ceilings
from benchmarks.measure import Deadline, machine, table
from benchmarks.plots import Panel, draw
from benchmarks.subject import Record, Setting, Subject
from simflow import distributed
from simflow.allocator import keep_freed_memory
from simflow.precision import NetworkDtype
from simflow.settings import spelled_out

SUBJECTS: dict[str, Subject] = {
    "sampling": sampling,
    "training": training,
    "loader": loader,
    "growth": growth,
    "guidance": guidance,
}


def main(arguments: list[str] | None = None) -> None:
    """The command; a mistake in its words ends in one sentence and status 2."""
    words = parser()
    chosen = words.parse_args(arguments)
    try:
        run(chosen)
    except ValueError as error:
        words.exit(2, f"{words.prog}: {error}\n")


def run(chosen: argparse.Namespace) -> None:
    """Measures, writes and prints.

    Raises:
        ValueError: there is no such recipe or checkout, a size does not fit, or ``--out`` names no JSON file.
    """
    if chosen.out is not None and chosen.out.suffix != ".json":
        raise ValueError(f"the name after --out must end in .json, and {chosen.out} does not")
    subject = SUBJECTS[chosen.what]
    distributed.prepare(torch.device(chosen.device))
    if chosen.keep_memory:
        keep_freed_memory()
    if chosen.threads is not None:
        torch.set_num_threads(chosen.threads)
    setting = Setting(
        device=torch.device(chosen.device),
        dtype=chosen.dtype,
        rounds=chosen.rounds,
        ceilings=ceilings(
            torch.device(chosen.device), chosen.dtype, side=chosen.matrix, copied=chosen.copied
        ),
        deadline=Deadline(chosen.seconds),
    )
    facts = machine(setting.device) | measured(setting.ceilings, chosen.dtype)
    facts["freed memory"] = "kept" if chosen.keep_memory else "given back"
    records: list[Record] = []
    for record in subject.measure(chosen, setting):
        records.append(record)
        write(chosen.out, facts, records, subject, setting)
    write(chosen.out, facts, records, subject, setting)
    print(said(facts, records, subject, setting))
    if chosen.out is not None and records:
        plot(
            subject.panels(records), chosen.out.with_suffix(".png"), title=f"{chosen.what}: {facts['device']}"
        )


def parser() -> argparse.ArgumentParser:
    """The flags of all subjects, and of each."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--device", default="cpu")
    shared.add_argument(
        "--dtype",
        type=spelled_out,
        choices=get_args(NetworkDtype),
        default="float32",
        help="bfloat16 (or bf16): autocast, for all",
    )
    shared.add_argument("--rounds", type=int, default=5, help="times that each contestant runs, in turns")
    shared.add_argument(
        "--seconds", type=float, help="begin nothing new after that; what is left out is named"
    )
    shared.add_argument("--threads", type=int, help="of the CPU; torch's own choice if not given")
    shared.add_argument(
        "--keep-memory",
        action="store_true",
        help="keep freed memory in the process, as the command simflow does; for all contestants",
    )
    shared.add_argument(
        "--out", type=Path, help="where to write: FILE.json, and FILE.md and FILE.png beside it"
    )
    shared.add_argument(
        "--matrix", type=int, help="side of the matrices whose product is timed for the floors"
    )
    shared.add_argument("--copied", type=int, help="bytes whose copy is timed for the floors")
    whole = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parts = whole.add_subparsers(dest="what", required=True)
    for name, subject in SUBJECTS.items():
        subject.add_arguments(parts.add_parser(name, parents=[shared], help=subject.ABOUT))
    return whole


def measured(rates: Ceilings, dtype: str) -> dict[str, str]:
    """The ceilings as facts of the machine."""
    return {
        f"{dtype} matmul": f"{rates.flops / 1e12:.3g} TFLOP/s",
        "copy": f"{rates.bandwidth / 1e9:.3g} GB/s",
    }


def said(facts: dict[str, str | int], records: Sequence[Record], subject: Subject, setting: Setting) -> str:
    """What is printed: the machine, the table, and what there was no time for."""
    parts = [", ".join(f"{name}: {value}" for name, value in facts.items())]
    parts += [table([subject.row(record) for record in records])] if records else []
    if setting.deadline.left_out:
        parts.append(f"Left out for lack of time: {'; '.join(setting.deadline.left_out)}.")
    return "\n\n".join(parts)


def write(
    out: Path | None,
    facts: dict[str, str | int],
    records: Sequence[Record],
    subject: Subject,
    setting: Setting,
) -> None:
    """The records so far as JSON, and the table beside them."""
    if out is None:
        return
    whole = {"machine": facts, "records": records, "left out": setting.deadline.left_out}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(whole, indent=1), encoding="utf-8")
    out.with_suffix(".md").write_text(said(facts, records, subject, setting) + "\n", encoding="utf-8")


def plot(panels: Sequence[Panel], target: Path, *, title: str) -> None:
    """The picture, or a sentence where matplotlib is missing; none where nothing was timed."""
    if not panels:
        return
    try:
        draw(panels, target, title=title)
    except ValueError as error:
        print(f"\nno plot: {error}")


if __name__ == "__main__":
    main()
