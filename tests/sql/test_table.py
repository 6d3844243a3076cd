"""The tables in docs/database-sql.md are true: what is named on the right exists, and none is left out."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

import cenote
import cenote.sql

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / "docs" / "database-sql.md").read_text()
GO_TESTS = 104


def rows(heading: str) -> list[list[str]]:
    section = PAGE.partition(f"\n{heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


NAMES = rows("## Every name of Go's")
TESTS = rows("## Every test of Go's")


@cache
def functions(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text())
    return {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}


def find(name: str) -> object:
    """Look a dotted name up in the package, or in its room for SQL."""
    found: object = cenote
    for part in name.split("."):
        found = getattr(found, part, None) or getattr(cenote.sql, part)
    return found


@pytest.mark.parametrize("row", NAMES, ids=lambda row: row[0])
def test_a_name_on_the_right_exists_or_something_is_said_instead(row: list[str]) -> None:
    go, ours, *rest = row
    assert re.findall(r"`(?:\w+)\.\w+`", go)
    if ours == "—":
        assert rest[0]
    for name in re.findall(r"`([\w.]+)`", ours):
        assert find(name) is not None


def test_what_the_handle_for_threads_can_do_the_other_can_too() -> None:
    for name in ("DB", "Conn", "Tx", "Stmt", "Rows"):
        here, there = (getattr(cenote.sql, prefix + name) for prefix in ("", "Async"))
        missing = {public for public in dir(here) if public[0] != "_"} - set(dir(there))
        assert missing == set()


@pytest.mark.parametrize("row", TESTS, ids=lambda row: row[0])
def test_a_test_in_the_table_exists(row: list[str]) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row[1])
    assert named or row[1].startswith("does not apply: ")
    assert [f"{file}::{name}" for file, name in named if name not in functions(file)] == []


def test_no_test_of_go_s_is_left_out() -> None:
    names = [row[0] for row in TESTS]
    assert len(names) == len(set(names)) == GO_TESTS
    assert all(re.fullmatch(r"`Test\w+`", name) for name in names)
