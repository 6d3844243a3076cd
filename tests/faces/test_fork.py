"""A forked child never touches its parent's sockets, and has a pool of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAMS = [
    "idle_and_out",
    "dropped_in_the_child",
    "while_locked",
    "expired_at_the_fork",
    "grandchildren",
    "closed_before",
    "tasks",
    "processes",
]


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_child_has_its_own_pool(program: str) -> None:
    command = [sys.executable, "-m", "tests.faces.programs", program]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=110)
    assert done.stderr == ""
    assert done.returncode == 0
