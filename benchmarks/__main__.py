"""``python -m benchmarks sampling|training|guidance``: measures, prints a table in Markdown, writes JSON."""

import argparse
import json
from pathlib import Path

import torch

from benchmarks import guidance, sampling, training
from benchmarks.measure import machine, table


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("what", choices=("sampling", "training", "guidance"))
    parser.add_argument("--peer-tarflow", type=Path, help="a checkout of apple/ml-tarflow")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, help="of the CPU; torch's own choice if not given")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", type=int, nargs=5, action="append", metavar=("B", "SIDE", "K", "L", "W"))
    parser.add_argument("--sizes", type=guidance.parse, nargs="+", metavar="RECIPE:IMAGES[:CHUNK]")
    parser.add_argument("--out", type=Path, help="where to write the records")
    chosen = parser.parse_args(arguments)
    if chosen.threads is not None:
        torch.set_num_threads(chosen.threads)
    device = torch.device(chosen.device)
    if chosen.what == "guidance" and (chosen.size or chosen.peer_tarflow):
        parser.error("guidance takes --sizes RECIPE:IMAGES, and no peer")
    if chosen.what != "guidance" and chosen.sizes:
        parser.error(f"{chosen.what} takes --size")
    subject = {"sampling": sampling, "training": training, "guidance": guidance}[chosen.what]
    if chosen.what == "guidance":
        sizes, own = chosen.sizes, {}
    else:
        names = ("images", "side", "blocks", "layers", "width")
        sizes = [sampling.Size(**dict(zip(names, numbers, strict=True))) for numbers in chosen.size or ()]
        own = {"checkout": chosen.peer_tarflow}
    records = [
        entry
        for size in sizes or subject.DEFAULT
        for entry in subject.measure(size, rounds=chosen.rounds, device=device, **own)
    ]
    facts = machine(device)
    print(", ".join(f"{name}: {value}" for name, value in facts.items()), end="\n\n")
    print(table([subject.row(entry) for entry in records]))
    if chosen.out is not None:
        chosen.out.write_text(json.dumps({"machine": facts, "records": records}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
