"""A type checker knows what a pool hands out, and refuses what would fail at run time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def check(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--no-incremental",
        "--cache-dir",
        "/dev/null",
        *map(str, arguments),
    ]
    return subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)


def test_the_types_of_pools_are_inferred() -> None:
    done = check("tests/typing/pools.py")
    assert done.stdout.startswith("Success"), done.stdout


def test_a_wrong_type_would_be_noticed(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    lines = ["from typing import assert_type", "import cenote"]
    lines.append("assert_type(cenote.Pool(lambda: 1), cenote.Pool[str])")
    wrong.write_text("\n".join(lines))
    done = check(wrong)
    assert "assert-type" in done.stdout
