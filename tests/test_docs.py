"""The documents say what is so: nothing public is left out, and what they link to and name is there."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import inspect
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import pytest

import cenote
import cenote.sql
import cenote.testing
from cenote.connector import OPTIONAL, Hooks
from cenote.drivers import _ASYNC, _SYNC
from cenote.durations import seconds
from cenote.events import Kind, Reason
from cenote.options import ALIASES, OPTION_NAMES
from tests.pages import DOCS, ROOT, blocks, relative

LINKED = [*DOCS, ROOT / "CONTRIBUTING.md", ROOT / "benches" / "README.md"]
README, REFERENCE = ROOT / "README.md", ROOT / "docs" / "reference.md"
CORRECTNESS = ROOT / "docs" / "correctness.md"
GUIDE = ROOT / "docs" / "guide"
PROMISES = range(1, 11)


# ── links ───────────────────────────────────────────────────────────────────────────────────────


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", re.sub(r"\[(.*?)\]\(.*?\)", r"\1", heading)) for heading in headings]
    return {heading.strip().lower().replace(" ", "-") for heading in plain}


def links(page: Path) -> list[str]:
    text = re.sub(r"^```.*?^```|`[^`\n]*`", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]


@pytest.mark.parametrize("page", LINKED, ids=relative)
def test_every_link_between_documents_leads_somewhere(page: Path) -> None:
    broken = []
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    seen, ahead = set[Path](), [README]
    while ahead:
        page = ahead.pop()
        seen.add(page)
        targets = {(page.parent / link.partition("#")[0]).resolve() for link in links(page)}
        pages = {one for target in targets for one in (target.glob("*.md") if target.is_dir() else [target])}
        ahead += [target for target in pages if target.suffix == ".md" and target not in seen]
    assert set(DOCS) <= seen


# ── options ─────────────────────────────────────────────────────────────────────────────────────


def rows(page: Path, heading: str = "") -> dict[str, list[str]]:
    """The table rows of a page, or below one heading, by the names in their first cell."""
    found: dict[str, list[str]] = {}
    text = page.read_text()
    if heading:
        text = text.partition(f"\n{heading}\n")[2].partition("\n#")[0]
    for line in text.splitlines():
        if line.startswith("| `"):
            cells = [cell.strip() for cell in line.strip("|").split(" | ")]
            for name in re.findall(r"`([^`]+)`", cells[0]):
                found[name] = cells[1:]
    return found


@pytest.mark.parametrize("name", OPTION_NAMES)
def test_an_option_is_in_the_readme_with_its_default(name: str) -> None:
    default: object = getattr(cenote.Options(), name)
    written = ast.literal_eval(rows(README)[name][0].strip("`"))
    if isinstance(default, float):
        written = seconds(written, option=name)
    assert written == default


def test_every_option_has_a_reason_in_the_guide() -> None:
    headings = re.findall(r"^### `(\w+)`$", (GUIDE / "options.md").read_text(), re.MULTILINE)
    assert sorted(headings) == sorted(OPTION_NAMES)


def test_every_option_has_its_variable_and_its_flag_in_the_guide() -> None:
    parser = argparse.ArgumentParser()
    cenote.add_arguments(parser)
    table = rows(GUIDE / "configuration.md")
    for alias, name in ALIASES.items():
        flag = f"--db-{alias.replace('_', '-')}"
        assert flag in parser.format_help()
        assert table[name] == [f"`DB_{alias.upper()}`", f"`{flag}`"]


# ── the reference ───────────────────────────────────────────────────────────────────────────────


def test_every_public_name_is_in_the_reference() -> None:
    headings = re.findall(r"^### `?(\w+)`?$", REFERENCE.read_text(), re.MULTILINE)
    assert sorted(headings) == sorted({*cenote.__all__, *cenote.sql.__all__})


def test_every_fake_for_tests_is_in_the_reference() -> None:
    assert set(rows(REFERENCE, "## Fakes for tests")) == set(cenote.testing.__all__)


HANDLE: list[type[Any]] = [
    getattr(cenote.sql, name) for name in cenote.sql.__all__ if isinstance(getattr(cenote.sql, name), type)
]
MEMBERS: list[tuple[type[Any], str]] = [
    *((cenote.Pool, name) for name in dir(cenote.Pool)),
    *((cenote.AsyncPool, name) for name in dir(cenote.AsyncPool)),
    *((cenote.Lease, name) for name in dir(cenote.Lease)),
    *((cenote.AsyncLease, name) for name in dir(cenote.AsyncLease)),
    *((cenote.Options, name) for name in dir(cenote.Options) if name not in OPTION_NAMES),
    *((cenote.Stats, name) for name in dir(cenote.Stats)),
    *((cenote.Histogram, name) for name in dir(cenote.Histogram)),
    *((cenote.Holder, name) for name in dir(cenote.Holder)),
    *((cenote.Event, name) for name in dir(cenote.Event)),
    *((cenote.Row, name) for name in vars(cenote.Row)),
    *((thing, name) for thing in HANDLE for name in dir(thing)),
]


def test_every_public_member_is_in_the_reference() -> None:
    words = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`\n]+)`", REFERENCE.read_text()))))
    words |= set(dir(tuple))  # which every row has
    missing = {f"{owner.__name__}.{name}" for owner, name in MEMBERS if name[0] != "_" and name not in words}
    assert missing == set()


def test_every_figure_of_the_statistics_is_in_the_reference() -> None:
    assert list(rows(REFERENCE, "### Stats")) == [field.name for field in dataclasses.fields(cenote.Stats)]


def test_every_event_and_reason_is_in_the_reference() -> None:
    table = rows(REFERENCE, "### Event")
    assert list(table) == list(get_args(Kind))
    assert set(re.findall(r"`(\w+)`", table["closing"][1])) == set(get_args(Reason))


def test_the_tree_of_errors_is_that_of_the_source() -> None:
    (tree,) = [block.text for block in blocks(REFERENCE) if "├──" in block.text]
    assert tree in inspect.cleandoc(str(import_module("cenote.errors").__doc__)).replace("\n    ", "\n")


def test_every_url_scheme_is_in_the_reference() -> None:
    assert {*_SYNC, *_ASYNC} <= set(rows(REFERENCE))


def test_every_parameter_of_a_driver_is_in_the_reference() -> None:
    table = rows(REFERENCE)
    for driver in {*_SYNC.values(), *_ASYNC.values()}:
        module = import_module(f"cenote.drivers.{driver.module}")
        parameters = getattr(module, "_URL_PARAMETERS", None)
        if parameters is None:
            parameters = getattr(getattr(module, driver.connector), "url_parameters", {})
        assert set(parameters) - {"timeout"} <= set(table)  # sqlite3's own name for busy_timeout


DIALECTS = {
    "psycopg 3": "psycopg.PsycopgDialect",
    "asyncpg": "asyncpg.AsyncpgDialect",
    "psycopg2": "psycopg2.Psycopg2Dialect",
    "PyMySQL": "pymysql.PyMySQLDialect",
    "mysqlclient": "mysqldb.MySQLdbDialect",
    "Connector/Python": "mysqlconnector.MySQLConnectorDialect",
    "asyncmy": "asyncmy.AsyncmyDialect",
    "aiomysql": "aiomysql.AiomysqlDialect",
    "sqlite3": "sqlite.SQLiteDialect",
    "aiosqlite": "sqlite.AioSQLiteDialect",
}


def test_the_table_of_drivers_says_what_their_dialects_say() -> None:
    text = (GUIDE / "database.md").read_text().partition("\n## The drivers\n")[2]
    table = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| ")][1:]
    assert [cells[0].strip() for cells in table] == list(DIALECTS)
    for driver, _, marks, binds, prepares, *_ in table:
        module, _, name = DIALECTS[driver.strip()].partition(".")
        dialect: type[cenote.sql.Dialect] = getattr(import_module(f"cenote.dialects.{module}"), name)
        binders = re.findall("server|driver", binds)
        assert set(binders) == {"client": {"driver"}, "server": {"server"}}.get(
            dialect.binds, {"server", "driver"}
        )
        assert ("(3)" in binds) == dialect.binds_prepared
        assert prepares.strip().startswith("yes") == dialect.prepares
        assert ("," in marks) == dialect.named
    paths = (ROOT / "src" / "cenote" / "dialects").glob("[a-z]*.py")
    assert {path.stem for path in paths} - {"dbapi"} == {path.partition(".")[0] for path in DIALECTS.values()}


def test_every_hook_of_a_connector_is_in_the_guide() -> None:
    text = (GUIDE / "connectors.md").read_text()
    table = {name.partition("(")[0] for name in rows(GUIDE / "connectors.md")}
    assert table == {"connect", "close", *OPTIONAL}
    flags = {field.name for field in dataclasses.fields(Hooks)} - set(OPTIONAL)
    assert [flag for flag in flags if f"`{flag}" not in text] == []


# ── promises ────────────────────────────────────────────────────────────────────────────────────


def sections(page: Path) -> dict[int, str]:
    """The numbered sections of a page, each up to the next heading."""
    found = re.findall(r"^## (\d+)\. (.*?)(?=^## |\Z)", page.read_text(), re.MULTILINE | re.DOTALL)
    return {int(number): text for number, text in found}


def test_every_promise_has_a_row_and_a_section_with_its_proof() -> None:
    table = dict(re.findall(r"^\| (\d+) \|(.*)$", CORRECTNESS.read_text(), re.MULTILINE))
    for number in PROMISES:
        assert "::test_" in table[str(number)]
        assert sections(CORRECTNESS)[number].count("\n") > 1
    assert len(table) == len(sections(CORRECTNESS)) == len(PROMISES)


def test_every_promise_of_the_handle_has_a_row_and_a_section_with_its_proof() -> None:
    text = CORRECTNESS.read_text()
    table = dict(re.findall(r"^\| ([A-Z]) \|(.*)$", text, re.MULTILINE))
    parts = dict(re.findall(r"^### ([A-Z])\. (.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL))
    assert list(table) == list(parts) != []
    for letter, row in table.items():
        (proof,) = re.findall(r"::(test_\w+)", row)
        assert "`tests/" in row
        assert f"::{proof}`" in parts[letter]


def test_every_promise_of_the_readme_leads_to_its_section() -> None:
    linked = re.findall(r"^(\d+)\. \[.*?\]\(docs/correctness\.md#(\d+)-", README.read_text(), re.MULTILINE)
    assert linked == [(str(number), str(number)) for number in PROMISES]


def test_every_test_that_is_named_exists() -> None:
    missing = []
    for file, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)", "".join(page.read_text() for page in DOCS)):
        tree = ast.parse((ROOT / file).read_text()) if (ROOT / file).exists() else ast.Module([], [])
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        if name not in {node.name for node in ast.walk(tree) if isinstance(node, kinds)}:
            missing.append(f"{file}::{name}")
    assert missing == []


def test_every_file_of_the_project_that_is_named_exists() -> None:
    named = re.findall(
        r"`((?:tests|src|docs|benches|examples)/[\w/.]+)[`:]", "".join(p.read_text() for p in DOCS)
    )
    assert [name for name in named if not (ROOT / name).exists()] == []


# ── the command line ────────────────────────────────────────────────────────────────────────────


def usage(*command: str) -> str:
    call = [sys.executable, "-m", "cenote.cli", *command, "--help"]
    return subprocess.run(call, check=True, capture_output=True, text=True).stdout


def test_every_command_and_every_flag_has_its_page() -> None:
    commands = re.findall(r"^    (\w+) ", usage().partition("commands:")[2], re.MULTILINE)
    assert commands
    for command in commands:
        text = (GUIDE / f"{command}.md").read_text()
        flags = set(re.findall(r"^  (--[\w-]+)", usage(command), re.MULTILINE))
        assert flags
        assert [flag for flag in flags if flag not in text] == []
