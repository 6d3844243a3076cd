"""The examples in the documents run, every warning an error, and print what the documents show."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import psycopg
import pytest

from tests.pages import DOCS, ROOT, blocks, relative
from tests.servers.mariadb import MariaDBServer
from tests.servers.pgbouncer import PgBouncer
from tests.servers.postgres import SUPERUSER, PostgresServer

NOT_RUN = 0
"""How many blocks are marked ``no-run``: a document shows a fragment only where it must."""


def program(page: Path) -> str:
    """Join the blocks of a page to one program, in which every line keeps its number."""
    lines = [""] * len(page.read_text().splitlines())
    for block in blocks(page):
        if block.info == "python":
            lines[block.line - 1] = f"print('@{block.line}@', flush=True)"
            lines[block.line : block.line + block.text.count("\n")] = block.text.splitlines()
    return "\n".join(lines)


def expected(page: Path) -> dict[str, str]:
    """What each block prints, as the page shows it, by the line of the block."""
    shown, last = {}, ""
    for block in blocks(page):
        if block.info == "python":
            last = str(block.line)
            shown[last] = ""
        elif block.info == "text output":
            shown[last] = block.text
    return shown


def unspecific(text: str) -> str:
    """Blank out what differs from run to run: durations and places in the code."""
    text = re.sub(r"\S+:\d+ in ", "SITE in ", text)
    return re.sub(r"\b[0-9.]+(us|ms|s)\b", "TIME", text)


def run(script: Path, folder: Path, *arguments: str, **environment: str) -> str:
    """Run a program with every warning an error, and return what it prints; it must not complain."""
    # Python itself warns of a fork beside threads, from 3.12 on.
    command = [sys.executable, "-W", "error", "-W", "ignore:This process", str(script), *arguments]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=folder, env=os.environ | environment
    )
    assert done.stderr == ""
    assert done.returncode == 0
    return done.stdout


class Addressed(Protocol):
    """What the addresses in a page stand for: a server, or what is in front of one."""

    host: str
    port: int

    def url(self, driver: str, *, database: Any) -> str:
        """Return the address for a driver."""


@pytest.fixture(scope="module")
def library(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """A server with a database of articles, which the pages' examples ask for."""
    with postgres.admin() as admin:
        admin.execute("create database docs owner app")
    with psycopg.connect(postgres.url(database="docs")) as owner:
        owner.execute("create table articles (author_id integer, title text)")
    yield postgres
    with psycopg.connect(postgres.url(user=SUPERUSER, database=SUPERUSER), autocommit=True) as admin:
        admin.execute("drop database docs with (force)")


@pytest.fixture(scope="module")
def mysql_library(mariadb: MariaDBServer) -> Iterator[MariaDBServer]:
    """The same on MariaDB."""
    with mariadb.admin() as admin, admin.cursor() as cursor:
        cursor.execute("create database docs")
        cursor.execute("create table docs.articles (author_id integer, title text)")
        cursor.execute("grant all on docs.* to app")
    yield mariadb
    with mariadb.admin() as admin, admin.cursor() as cursor:
        cursor.execute("drop database docs")


@pytest.fixture(scope="module")
def bouncer(library: PostgresServer) -> Iterator[PgBouncer]:
    """A PgBouncer in front of it whose clients share connections."""
    with PgBouncer(library, pool_mode="transaction", default_pool_size=2) as bouncer:
        yield bouncer


ADDRESSES = [
    (r"(postgresql(?:\+\w+)?)://app@(db)/app", "library", "docs"),
    (r"(postgresql(?:\+\w+)?)://app@(pgbouncer)/app", "bouncer", "docs"),
    (r"(mysql(?:\+\w+)?)://app@(db)/app", "mysql_library", "docs"),
    (r"(redis)://(db)/0", "redis_server", 0),
]


def _address(server: Addressed, database: object, found: re.Match[str]) -> str:
    return server.url(found[1], database=database)


@pytest.mark.parametrize(
    "page", [page for page in DOCS if any(block.info == "python" for block in blocks(page))], ids=relative
)
def test_a_page_runs_and_prints_what_it_shows(
    page: Path, library: PostgresServer, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    script = tmp_path / "page.py"
    text = program(page)
    names = {}
    for pattern, fixture, database in ADDRESSES:
        found = re.search(pattern, text)
        if found:
            server: Addressed = request.getfixturevalue(fixture)
            text = re.sub(pattern, partial(_address, server, database), text)
            for user in ("app", "app:***"):
                names[f"{user}@{server.host}:{server.port}/docs"] = f"app@{found[2]}/app"
            names[f"{server.host}:{server.port}/0"] = f"{found[2]}/0"
    script.write_text(text)
    printed = run(script, tmp_path, DB_DSN=library.url(database="docs"))
    for name, shown_as in names.items():
        printed = printed.replace(name, shown_as)
    parts = re.split(r"@(\d+)@\n", printed)[1:]
    shown = {line: unspecific(text) for line, text in expected(page).items() if text}
    assert {line: unspecific(parts[parts.index(line) + 1]) for line in shown} == shown


def test_blocks_that_are_not_run_are_few() -> None:
    infos = [block.info for page in DOCS for block in blocks(page) if block.info.startswith("python")]
    assert len([info for info in infos if info != "python"]) == NOT_RUN


EXAMPLES = {
    "threads.py": ([], r"200 visits, [123] connections opened, \d+ acquires queued\n"),
    "asyncio_app.py": ([], r"rolled back: .*\nsum of squares 328350, rows left 0\n<AsyncPool .*>\n"),
    "database.py": (
        [],
        r"rolled back: Ann .*\nAccount\(.*\)\nAccount\(.*25\)\nstatement: .*stopped it\n.* 0 in use\n",
    ),
    "own_driver.py": ([], r"Row\(word='hello'\)\nall \d+ checks passed\n"),
    "own_connector.py": ([], r"HELLO\nBYE\nHELLO AGAIN\n1 found dead and replaced\n"),
    "flags.py": (
        ["--db-dsn", "sqlite:///app.db", "--db-max-open-conns", "4"],
        r"SQLite .* through <Pool 'app.db' \[open 1 of 4, .*>\n",
    ),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs(name: str, tmp_path: Path) -> None:
    arguments, prints = EXAMPLES[name]
    assert re.fullmatch(prints, run(ROOT / "examples" / name, tmp_path, *arguments))


def test_every_example_is_run() -> None:
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == set(EXAMPLES)
