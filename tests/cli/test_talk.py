"""What is said goes to standard error as long as somebody reads it."""

import io
import logging
import sys

from simflow.cli.talk import talking


class Unread(io.StringIO):
    """A pipe whose reader has ended."""

    def flush(self):
        raise BrokenPipeError


def test_a_work_goes_on_when_nobody_reads_what_it_says(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Unread())
    with talking() as console:
        for _ in range(2):
            logging.getLogger("simflow").info("saved")
    assert console.quiet
