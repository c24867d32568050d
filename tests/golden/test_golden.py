"""Our flows answer what Apple's answered: a few recorded numbers, so that parity holds where the peers are not."""

import json
from pathlib import Path

import pytest
import torch

from tests.golden.cases import STARFLOW, TARFLOW, fill
from tests.golden.record import few

CASES = {("tarflow", name): case for name, case in TARFLOW.items()}
CASES |= {("starflow", name): case for name, case in STARFLOW.items()}


@pytest.mark.parametrize(("peer", "name"), CASES, ids=lambda part: part)
@torch.no_grad()
def test_the_recorded_numbers(peer, name):
    case = CASES[peer, name]
    record = json.loads((Path(__file__).parent / f"{peer}.json").read_text())[name]
    flow = case.read(fill(case.shapes))
    noise, labels = case.noise(flow), case.labels()
    u, log_det, _ = flow.walk(case.latents(), labels, None)
    assert few(u) == pytest.approx(record["forward"], abs=1e-5, rel=1e-5)
    assert few(log_det) == pytest.approx(record["log_det"], abs=5e-5, rel=1e-5)
    assert few(flow.inverse(noise, labels)) == pytest.approx(record["reverse"], abs=1e-5, rel=1e-5)
    assert record["guided"].keys() == case.guided.keys()
    for rule, (guidance, _) in case.guided.items():
        found = few(flow.inverse(noise, labels, guidance))
        assert found == pytest.approx(record["guided"][rule], abs=1e-5, rel=1e-5), rule


@pytest.mark.parametrize(("peer", "name"), CASES, ids=lambda part: part)
@torch.no_grad()
def test_guidance_moves_the_recorded_numbers(peer, name):
    """Else the comparison above would say nothing of the guidance."""
    record = json.loads((Path(__file__).parent / f"{peer}.json").read_text())[name]
    answers = [record["reverse"], *record["guided"].values()]
    for index, first in enumerate(answers):
        for second in answers[:index]:
            assert max(abs(a - b) for a, b in zip(first, second, strict=True)) > 3e-3
