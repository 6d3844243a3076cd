"""Running the command line inside the test."""

from __future__ import annotations

import pytest

from cenote.cli import main


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """Run a command line that is wrong; return the one line it is answered with."""
    status: object = None
    try:
        status = main(argv)
    except SystemExit as end:
        status = end.code
    captured = capsys.readouterr()
    assert status == 2
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    return line
