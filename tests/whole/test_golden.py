"""The demo's first losses are the recorded ones; ``python -m tools.record_golden`` records them anew."""

import json

import pytest

from tools.record_golden import FILE, STEPS, curve


def test_the_demo_begins_as_recorded():
    recorded, found = json.loads(FILE.read_text()), curve()
    assert len(found) == len(recorded) == STEPS
    for step, (line, expected) in enumerate(zip(found, recorded, strict=True), start=1):
        assert line == pytest.approx(expected, rel=1e-4, abs=1e-6), f"step {step}"
