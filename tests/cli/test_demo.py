"""``cenote demo`` as a user runs it: a process of its own, on real databases."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import sqlite3
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.servers.postgres import PostgresServer, Template

COMMAND = [sys.executable, "-m", "cenote.cli", "demo"]
FRAME = b"8 threads on Pool, sqlite3"
TABLES = "select count(*) from pg_tables where tablename like 'cenote_demo_%'"


@pytest.fixture(scope="module")
def breakable(postgres_template: Template) -> Iterator[PostgresServer]:
    """One server for all tests here that stop theirs."""
    with PostgresServer(template=postgres_template) as server:
        yield server


@pytest.fixture
def own_postgres(breakable: PostgresServer) -> PostgresServer:
    """A server that this test may stop; the next one finds it running."""
    breakable.start()
    return breakable


def environment(folder: Path, **changes: str) -> dict[str, str]:
    """Ours, without what would speak about the terminal; temporary files go to `folder`.

    Nor unbuffered: then Python drops the rest of a write that a signal has cut short.
    """
    terminals = {"NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS", "LINES"}
    unwanted = terminals | {"PYTHONUNBUFFERED"}
    kept = {name: value for name, value in os.environ.items() if name not in unwanted}
    return kept | {"TMPDIR": str(folder), "TERM": "xterm-256color", "PYTHONUTF8": "1"} | changes


def demo(folder: Path, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end, without a terminal."""
    return subprocess.run(
        [*COMMAND, *arguments],
        check=False,
        capture_output=True,
        text=True,
        env=environment(folder, **changes),
        timeout=110,
    )


@contextmanager
def running(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run it beside the test, without a terminal."""
    with subprocess.Popen(
        [*COMMAND, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(folder),
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def read_until(process: subprocess.Popen[str], pattern: str) -> str:
    """Read lines up to one in which the pattern is found."""
    assert process.stdout is not None
    for line in process.stdout:
        if re.search(pattern, line):
            return line
    raise AssertionError(f"ended without {pattern}: {process.communicate()}")


def on_a_terminal(
    folder: Path, *arguments: str, frames: int = 0, environ: dict[str, str] | None = None
) -> tuple[int, str]:
    """Run it on a terminal of 100 by 30; return its status and all that it sent there.

    After so many `frames` Ctrl-C is pressed.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    with subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(folder, **(environ or {})),
    ) as process:
        os.close(theirs)
        sent = b""
        try:
            while chunk := os.read(ours, 65536):
                sent += chunk
                if frames and sent.count(FRAME) >= frames:
                    frames = 0
                    process.send_signal(signal.SIGINT)
        except OSError:  # how Linux tells that the other end is closed
            pass
        finally:
            os.close(ours)
    return process.returncode, sent.decode()


def tables(server: PostgresServer) -> int:
    """How many tables of demos there are in the database of `app`."""
    with psycopg.connect(server.dsn) as connection:
        row = connection.execute(TABLES).fetchone()
    assert row is not None
    return int(row[0])


def test_without_a_terminal_it_writes_plain_lines_and_a_summary(tmp_path: Path) -> None:
    done = demo(tmp_path, "--seconds", "1", FORCE_COLOR="1")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    lines = done.stdout.splitlines()
    assert lines[:3] == [
        "cenote demo on a temporary SQLite file",
        "8 threads share at most 4 connections by sqlite3",
        "8 tasks share at most 4 connections by aiosqlite",
    ]
    assert [line.split()[1] for line in lines[3:5]] == ["threads", "tasks"]
    assert "connections opened" in done.stdout
    (failed,) = [line.split()[1:] for line in lines if line.strip().startswith("failed")]
    assert failed == ["0", "0"]


def test_the_temporary_file_is_removed(tmp_path: Path) -> None:
    demo(tmp_path, "--seconds", "0.1")
    assert list(tmp_path.iterdir()) == []


def test_the_table_is_dropped_and_no_other_is_touched(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    with closing(sqlite3.connect(path)) as own:
        own.execute("create table articles (title text)")
    done = demo(tmp_path, "--seconds", "0.5", "--url", f"sqlite:///{path}")
    assert (done.returncode, done.stderr) == (0, "")
    with closing(sqlite3.connect(path)) as own:
        assert own.execute("select name from sqlite_master").fetchall() == [("articles",)]


def test_ctrl_c_ends_it_with_the_summary_and_without_the_table(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    with running(tmp_path, "--seconds", "0", "--url", f"sqlite:///{path}") as process:
        assert "cenote demo" in read_until(process, "cenote demo")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert "connections opened" in out
    with closing(sqlite3.connect(path)) as own:
        assert own.execute("select name from sqlite_master").fetchall() == []


def test_a_polite_kill_ends_it_the_same_way(tmp_path: Path) -> None:
    with running(tmp_path, "--seconds", "0") as process:
        read_until(process, "cenote demo")
        process.terminate()
        out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert "connections opened" in out
    assert list(tmp_path.iterdir()) == []


def test_a_reader_who_leaves_ends_it_quietly(tmp_path: Path) -> None:
    with running(tmp_path, "--seconds", "0") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("scheme", "drivers"),
    [
        ("postgresql", ["psycopg", "psycopg"]),
        ("postgresql+asyncpg", ["psycopg", "asyncpg"]),
        ("postgresql+psycopg2", ["psycopg2", "psycopg"]),
    ],
)
def test_it_works_on_postgresql(
    tmp_path: Path, postgres: PostgresServer, scheme: str, drivers: list[str]
) -> None:
    done = demo(tmp_path, "--seconds", "1", "--url", postgres.url(scheme))
    assert (done.returncode, done.stderr) == (0, "")
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [line[-1] for line in rows[1:3]] == drivers
    (operations,) = [line[1:] for line in rows if line[:1] == ["operations"]]
    (failed,) = [line[1:] for line in rows if line[:1] == ["failed"]]
    assert "0" not in operations
    assert failed == ["0", "0"]
    assert "app-secret" not in done.stdout
    assert tables(postgres) == 0


def test_never_more_connections_than_asked_for(tmp_path: Path, own_postgres: PostgresServer) -> None:
    url = f"{own_postgres.dsn}?application_name=cenote-demo"
    with running(
        tmp_path, "--seconds", "0", "--max-open", "2", "--max-lifetime", "300ms", "--url", url
    ) as process:
        for _ in range(2):
            read_until(process, "tasks")
            assert own_postgres.count_backends("cenote-demo") <= 4
        process.send_signal(signal.SIGINT)
        process.communicate()
    own_postgres.wait_for_backends(0)


def test_it_survives_the_loss_of_its_server(tmp_path: Path, own_postgres: PostgresServer) -> None:
    before = tables(own_postgres)
    with running(tmp_path, "--seconds", "0", "--url", own_postgres.url("postgresql+asyncpg")) as process:
        read_until(process, "threads .*/s")
        own_postgres.stop("immediate")
        read_until(process, "tasks .*cannot connect")
        own_postgres.start()
        read_until(process, "threads .* [1-9][0-9]*/s")
        read_until(process, "tasks .* [1-9][0-9]*/s")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert "connections opened" in out
    assert tables(own_postgres) == before


def test_a_table_that_cannot_be_dropped_is_named(tmp_path: Path, own_postgres: PostgresServer) -> None:
    with running(tmp_path, "--seconds", "0", "--url", own_postgres.dsn) as process:
        read_until(process, "threads .*/s")
        own_postgres.stop()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert "connections opened" in out
    assert process.returncode == 1
    (line,) = err.splitlines()
    assert "cannot drop the table cenote_demo_" in line


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+asyncpg", "postgresql+psycopg2"])
def test_a_wrong_password_is_one_line_without_it(
    tmp_path: Path, postgres: PostgresServer, scheme: str
) -> None:
    done = demo(tmp_path, "--url", postgres.url(scheme, password="wr0ng"))
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "password authentication failed" in line
    assert "wr0ng" not in line


def test_a_server_that_is_down_is_one_line(tmp_path: Path, own_postgres: PostgresServer) -> None:
    own_postgres.stop()
    done = demo(tmp_path, "--url", own_postgres.dsn)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "refused" in line


def test_a_database_that_may_not_be_written_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    sqlite3.connect(path).close()
    path.touch()
    done = demo(tmp_path, "--url", f"sqlite:///{path}?mode=ro")
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "cannot make the table" in line


def test_a_terminal_gets_the_live_view_and_then_the_summary(tmp_path: Path) -> None:
    status, sent = on_a_terminal(tmp_path, frames=3)
    assert status == 0
    before, screen, rest = sent.partition("\x1b[?1049h")
    frames, leave, after = rest.partition("\x1b[?1049l")
    assert screen
    assert leave
    assert before == ""
    assert frames.count(FRAME.decode()) >= 3
    assert "\x1b[32m" in frames
    assert "connections opened" in after


def test_a_terminal_without_color_gets_none(tmp_path: Path) -> None:
    _, sent = on_a_terminal(tmp_path, "--seconds", "0.2", environ={"NO_COLOR": "1"})
    assert FRAME.decode() in sent
    assert "\x1b[32m" not in sent


@pytest.mark.parametrize(
    ("arguments", "changes"),
    [(["--plain"], {}), ([], {"TERM": "dumb"}), ([], {"PYTHONUTF8": "0", "PYTHONIOENCODING": "latin-1"})],
    ids=["asked for", "dumb terminal", "no block characters"],
)
def test_a_terminal_that_cannot_draw_gets_plain_lines(
    tmp_path: Path, arguments: list[str], changes: dict[str, str]
) -> None:
    status, sent = on_a_terminal(tmp_path, "--seconds", "0.2", *arguments, environ=changes)
    assert status == 0
    assert "\x1b" not in sent
    assert "8 threads share at most 4 connections by sqlite3" in sent
    assert "connections opened" in sent
