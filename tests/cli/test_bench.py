"""``cenote bench`` on real databases, with everything made as short as it goes."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cenote.cli import main
from cenote.cli.bench import command, site
from cenote.cli.bench.arguments import NAMES
from cenote.cli.bench.site import Site
from tests.servers import mariadb as mariadb_server
from tests.servers.mariadb import MariaDBServer
from tests.servers.postgres import SUPERUSER, PostgresServer

SHORT = ("--scale", "0.01", "--workers", "3")
LEFT_IN_POSTGRESQL = (
    "select relname::text from pg_class where relname like 'cenote_bench_%' "
    "union all select rolname::text from pg_roles where rolname like 'cenote_bench_%'"
)
LEFT_IN_MARIADB = (
    "select table_name from information_schema.tables where table_name like 'cenote_bench_%' "
    "union all select user from mysql.user where user like 'cenote_bench_%'"
)

Left = Callable[[], list[str]]


def left_in(server: PostgresServer, database: str = "app") -> list[str]:
    """The tables and roles of benchmarks that are on the server."""
    with psycopg.connect(server.url(user=SUPERUSER, database=database)) as connection:
        return [name for (name,) in connection.execute(LEFT_IN_POSTGRESQL)]


def left_in_file(path: Path) -> list[str]:
    """The tables of a SQLite file."""
    with closing(sqlite3.connect(path)) as connection:
        return [name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")]


def bench(capsys: pytest.CaptureFixture[str], url: str, *argv: str, status: int = 0) -> tuple[str, str]:
    """Run it; return what it wrote, having seen that there is no password in it."""
    assert main(["bench", url, *SHORT, *argv]) == status
    captured = capsys.readouterr()
    assert "secret" not in captured.out + captured.err
    return captured.out, captured.err


def figures(text: str) -> dict[str, Any]:
    """The experiments by their name."""
    return {one["name"]: one for one in json.loads(text)["experiments"]}


def case(experiment: dict[str, Any], label: str) -> dict[str, Any]:
    """One case's figures."""
    (values,) = [one["values"] for one in experiment["cases"] if one["label"] == label]
    return dict(values)


@pytest.fixture(params=["postgresql", "mariadb"])
def server(request: pytest.FixtureRequest) -> Iterator[tuple[str, Left]]:
    """The URL of one who may create accounts, and what finds the remains of a benchmark."""
    if request.param == "postgresql":
        postgres: PostgresServer = request.getfixturevalue("postgres")
        yield postgres.url(user=SUPERUSER), lambda: left_in(postgres)
    else:
        mariadb: MariaDBServer = request.getfixturevalue("mariadb")
        url = mariadb.url(user=mariadb_server.SUPERUSER)
        yield url, lambda: [str(name) for (name,) in mariadb.execute(LEFT_IN_MARIADB)]


def test_all_experiments_run_on_a_server_and_leave_nothing(
    capsys: pytest.CaptureFixture[str], server: tuple[str, Left], tmp_path: Path
) -> None:
    url, left = server
    path = tmp_path / "bench.json"
    out, err = bench(capsys, url, "--json", str(path), "--plot", str(tmp_path / "bench.svg"))
    assert [line.split()[0] for line in err.splitlines()] == list(NAMES)
    assert "\x1b" not in out
    found = figures(path.read_text())
    assert list(found) == list(NAMES)
    assert [one["failed"] or one["not_run"] for one in found.values()] == [None] * 5
    assert case(found["max-open"], "1")["connections"] == 1
    assert case(found["max-idle"], "none")["dials_per_op"] == 1
    assert case(found["max-idle"], "10")["dials_per_op"] == 0
    assert (tmp_path / "bench.svg").exists()
    assert left() == []


def test_a_server_with_a_limit_refuses_the_pool_without_one(
    capsys: pytest.CaptureFixture[str], server: tuple[str, Left]
) -> None:
    url, left = server
    # Longer than elsewhere: all callers have to be there before the first one has gone.
    out, _ = bench(capsys, url, "--only", "server-limit", "--json", "-", "--scale", "1")
    found = figures(out)["server-limit"]
    assert case(found, "unlimited")["refused_dials"] > 0
    assert case(found, "unlimited")["connections"] <= 5
    assert case(found, "max open 3")["refused_dials"] == 0
    assert [one["values"]["errors"] for one in found["cases"]] == [0, 0]
    assert "too many connections" in str(found["notes"]) or "max_user_connections" in str(found["notes"])
    assert left() == []


def test_the_connection_phase_is_paid_once_for_each_statement_or_once_for_each_connection(
    capsys: pytest.CaptureFixture[str], server: tuple[str, Left]
) -> None:
    out, _ = bench(capsys, server[0], "--only", "sleep", "--json", "-", "--scale", "0.1")
    found = figures(out)["sleep"]
    phases = {one["label"]: one["values"]["connections"] for one in found["cases"]}
    assert phases["max open 1, used once"] == 5
    assert phases["max open 1"] == 1
    # How many it is exactly is a matter of who comes when.
    assert phases["unlimited, server allows 2"] <= 2
    assert phases["max open 3, max idle 0"] <= 5
    assert phases["max open 3, max idle 3"] <= 3
    assert [one["values"]["errors"] for one in found["cases"]] == [0] * 5


@pytest.mark.parametrize("kind", ["postgres", "mariadb"])
def test_without_the_right_to_make_accounts_it_says_so_and_goes_on(
    capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest, kind: str
) -> None:
    server = request.getfixturevalue(kind)
    out, _ = bench(capsys, server.url(), "--only", "server-limit", "--only", "sleep", "--json", "-")
    found = figures(out)
    assert "needs the right to create a" in found["server-limit"]["not_run"]
    (limited,) = [one for one in found["sleep"]["cases"] if one["settings"]["server_allows"]]
    assert "needs the right to create a" in limited["problem"]
    assert len(found["sleep"]["cases"]) == 5


def test_an_account_that_the_server_does_not_let_in_is_dropped_and_told(
    capsys: pytest.CaptureFixture[str], own_postgres: PostgresServer
) -> None:
    with own_postgres.admin() as admin:
        admin.execute("revoke connect on database app from public")
    url = own_postgres.url(user=SUPERUSER)
    out, _ = bench(capsys, url, "--only", "server-limit", "--json", "-")
    assert "does not let a new account in" in figures(out)["server-limit"]["not_run"]
    assert left_in(own_postgres) == []


@pytest.mark.parametrize("place", ["file", "memory"])
def test_all_that_sqlite_can_do_is_measured_on_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, place: str
) -> None:
    path = tmp_path / "app.db"
    out, _ = bench(capsys, f"sqlite:///{path}" if place == "file" else "sqlite://")
    assert "not run: SQLite has no limit of connections" in out
    assert "max open 3, max idle 3" in out
    if place == "file":
        assert left_in_file(path) == []


@pytest.mark.parametrize("scheme", ["postgresql+psycopg2", "mysql+mysqldb", "mysql+mysqlconnector"])
def test_every_driver_for_threads_is_known(
    capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest, scheme: str
) -> None:
    server = request.getfixturevalue("postgres" if "postgresql" in scheme else "mariadb")
    out, _ = bench(capsys, server.url(scheme), "--only", "max-open", "--json", "-")
    assert figures(out)["max-open"]["failed"] is None


def test_json_on_standard_output_stands_alone_there(capsys: pytest.CaptureFixture[str]) -> None:
    out, err = bench(capsys, "sqlite://", "--only", "max-open", "--json", "-")
    assert json.loads(out)["server"].startswith("SQLite 3")
    assert "10 open: " in err


# ── what is there is left alone, what was made is gone ──────────────────────────────────────────


def test_a_name_that_is_taken_is_left_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, own_postgres: PostgresServer
) -> None:
    with psycopg.connect(own_postgres.url(user=SUPERUSER), autocommit=True) as owner:
        owner.execute("create table cenote_bench_00000000 (id integer)")
        owner.execute("insert into cenote_bench_00000000 values (42)")
        owner.execute("create role cenote_bench_00000000")
        names = iter(f"cenote_bench_{number // 2:08x}" for number in range(100))
        monkeypatch.setattr(site, "new_name", lambda: next(names))
        bench(capsys, own_postgres.url(user=SUPERUSER), "--only", "server-limit")
        assert owner.execute("select id from cenote_bench_00000000").fetchall() == [(42,)]
    assert left_in(own_postgres) == ["cenote_bench_00000000"] * 2


def test_when_every_name_is_taken_it_gives_up_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "app.db"
    with closing(sqlite3.connect(path)) as own:
        own.execute("create table cenote_bench_00000000 (id integer)")
    monkeypatch.setattr(site, "new_name", lambda: "cenote_bench_00000000")
    _, err = bench(capsys, f"sqlite:///{path}", status=1)
    assert err == "cenote bench: cannot make a table: 5 names were all taken\n"
    assert left_in_file(path) == ["cenote_bench_00000000"]


@pytest.mark.parametrize(
    "error", [ValueError("the disk is full"), KeyboardInterrupt()], ids=["error", "Ctrl-C"]
)
@pytest.mark.parametrize("seam", ["insert", "insert_scratch", "sleep"])
def test_nothing_is_left_when_it_is_cut_short(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    postgres: PostgresServer,
    seam: str,
    error: BaseException,
) -> None:
    def break_off(self: Site, *_: object) -> None:
        raise error

    monkeypatch.setattr(Site, seam, break_off)
    interrupted = isinstance(error, KeyboardInterrupt)
    # The callers of those who sleep count the driver's errors, and go on.
    status = 130 if interrupted else 0 if seam == "sleep" else 1
    out, err = bench(capsys, postgres.url(user=SUPERUSER), status=status)
    if interrupted:
        assert err.splitlines()[-1] == "cenote bench: interrupted; what was made on the server is dropped"
    elif status:
        assert "failed: ValueError: the disk is full" in out
    assert left_in(postgres) == []


def test_a_table_that_cannot_be_dropped_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, own_postgres: PostgresServer
) -> None:
    def stop(_: Site) -> str:
        own_postgres.stop()
        return "gone"

    # The clearing of the scratch table is the first thing this experiment does.
    monkeypatch.setattr(Site, "clear_scratch", stop)
    _, err = bench(capsys, own_postgres.dsn, "--only", "max-idle", status=1)
    assert "cannot drop the table cenote_bench_" in err.splitlines()[-1]
    own_postgres.start()


def test_the_wrong_password_is_one_line_without_it(
    capsys: pytest.CaptureFixture[str], postgres: PostgresServer
) -> None:
    _, err = bench(capsys, postgres.url(password="wr0ng"), status=1)
    (line,) = err.splitlines()
    assert "password authentication failed" in line
    assert "wr0ng" not in line


def test_ctrl_c_ends_it_and_what_is_finished_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    argv = [sys.executable, "-m", "cenote.cli", "bench", f"sqlite:///{path}", "--only", "max-open"]
    argv += ["--only", "sleep", "--scale", "0.1"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("sleep"):
                break
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert (process.returncode, err) == (
        130,
        "cenote bench: interrupted; what was made on the server is dropped\n",
    )
    assert "max-open: parallel INSERTs" in out
    assert "sleep" not in out
    assert left_in_file(path) == []


def test_a_reader_who_leaves_ends_it_quietly() -> None:
    argv = [sys.executable, "-m", "cenote.cli", "bench", "sqlite://", "--only", "sleep", *SHORT]
    ours, theirs = os.pipe()
    os.close(ours)
    with subprocess.Popen(argv, stdout=theirs, stderr=subprocess.PIPE, text=True) as process:
        os.close(theirs)
        _, err = process.communicate()
    assert (process.returncode, err) == (1, "sleep (25 steps)\n")


def test_what_the_list_of_experiments_holds_is_what_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "EXPERIMENTS", ())
    out, _ = bench(capsys, "sqlite://", "--json", "-")
    assert json.loads(out)["experiments"] == []
