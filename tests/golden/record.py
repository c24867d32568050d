"""Asks the peers for the golden numbers: ``python -m tests.golden.record``, with both checkouts given.

See :mod:`tests.parity.peers` for the environment variables.
"""

import json
from pathlib import Path

import torch
from torch import Tensor

from tests.golden.cases import STARFLOW, TARFLOW, Case, fill
from tests.parity.peers import StarFlow, TarFlow

HERE = Path(__file__).parent


def few(numbers: Tensor) -> list[float]:
    """Seven numbers from all over a tensor, or all of fewer."""
    flat = numbers.flatten()
    chosen = torch.linspace(0, len(flat) - 1, min(7, len(flat))).long()
    return [round(flat[i].item(), 7) for i in chosen]


def answers(case: Case, peer: TarFlow | StarFlow) -> dict:
    """What the peer says."""
    weights = fill(case.shapes)
    peer.set(weights)
    noise, labels = case.noise(case.read(weights)), case.labels()
    z, log_det = peer.forward(case.latents(), labels)
    return {
        "forward": few(z),
        "log_det": few(log_det),
        "reverse": few(peer.reverse(noise, labels)),
        "guided": {name: few(peer.reverse(noise, labels, **args)) for name, (_, args) in case.guided.items()},
    }


@torch.no_grad()
def main() -> None:
    """Writes both files."""
    for name, cases, peer in (("tarflow", TARFLOW, TarFlow), ("starflow", STARFLOW, StarFlow)):
        record = {key: answers(case, peer(case)) for key, case in cases.items()}
        (HERE / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
