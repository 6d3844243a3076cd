"""The servers the other tests rely on do what their fixtures say."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from tests.conftest import MakePostgres
from tests.servers.home import ServerError, free_port
from tests.servers.postgres import PostgresServer

ROOT = Path(__file__).resolve().parent.parent


def ask(url: str, question: str = "select current_user || '@' || current_database()") -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(question).fetchone()
    assert row is not None
    return row[0]


def test_a_server_accepts_connections_as_soon_as_it_is_started(postgres: PostgresServer) -> None:
    assert ask(postgres.dsn) == "app@app"


def test_a_second_role_has_a_database_of_its_own_and_a_password_that_urls_must_escape(
    postgres: PostgresServer,
) -> None:
    assert ask(postgres.url(user="other", database="other")) == "other@other"


def test_a_wrong_password_is_refused(postgres: PostgresServer) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        ask(postgres.url(password="wrong"))


def test_a_wrong_password_is_refused_on_the_unix_socket_too(postgres: PostgresServer) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(host=str(postgres.socket_dir), port=postgres.port, user="app", password="wrong")


def test_the_scheme_of_the_url_is_the_drivers(postgres: PostgresServer) -> None:
    assert postgres.url("postgresql+asyncpg").startswith("postgresql+asyncpg://app:")


def test_an_ordinary_role_may_create_tables(postgres: PostgresServer) -> None:
    with psycopg.connect(postgres.dsn) as connection:
        connection.execute("create table made_here (id int)")
        connection.rollback()


def test_a_restart_kills_connections_and_keeps_data_and_port(own_postgres: PostgresServer) -> None:
    port = own_postgres.port
    with own_postgres.admin() as admin:
        admin.execute("create table kept as select 42 as answer")
        own_postgres.restart()
        with pytest.raises(psycopg.OperationalError):
            admin.execute("select 1")
    assert own_postgres.port == port
    with own_postgres.admin() as admin:
        assert admin.execute("select answer from kept").fetchone() == (42,)


def test_a_stopped_server_refuses_connections_and_starts_again(own_postgres: PostgresServer) -> None:
    own_postgres.stop("immediate")
    assert not own_postgres.running
    with pytest.raises(psycopg.OperationalError, match="refused"):
        ask(own_postgres.dsn)
    own_postgres.start()
    assert ask(own_postgres.dsn) == "app@app"


def test_terminated_backends_are_counted_and_gone(own_postgres: PostgresServer) -> None:
    with (
        psycopg.connect(own_postgres.dsn, application_name="doomed") as doomed,
        psycopg.connect(own_postgres.dsn, application_name="spared") as spared,
    ):
        assert own_postgres.count_backends() == 2
        assert own_postgres.terminate_backends("doomed") == 1
        assert own_postgres.count_backends() == own_postgres.count_backends("spared") == 1
        with pytest.raises(psycopg.OperationalError):
            doomed.execute("select 1")
        assert spared.execute("select 1").fetchone() == (1,)
    own_postgres.wait_for_backends(0)


def test_the_tests_own_connection_is_neither_counted_nor_terminated(own_postgres: PostgresServer) -> None:
    with own_postgres.admin() as admin:
        assert own_postgres.count_backends() == 0
        assert own_postgres.terminate_backends() == 0
        assert admin.execute("select 1").fetchone() == (1,)


def test_the_limit_is_exact_for_ordinary_roles_and_leaves_room_for_the_test(
    make_postgres: MakePostgres,
) -> None:
    server = make_postgres(max_connections=2)
    with ExitStack() as held:
        for _ in range(2):
            held.enter_context(psycopg.connect(server.dsn))
        with pytest.raises(psycopg.OperationalError, match="connection slots are reserved"):
            psycopg.connect(server.dsn)
        assert server.count_backends() == 2


def test_the_limit_can_be_changed(own_postgres: PostgresServer) -> None:
    own_postgres.set_max_connections(1)
    with psycopg.connect(own_postgres.dsn), pytest.raises(psycopg.OperationalError):
        psycopg.connect(own_postgres.dsn)


def test_a_closed_server_leaves_nothing_behind(make_postgres: MakePostgres) -> None:
    server = make_postgres()
    server.close()
    server.close()
    assert not server.socket_dir.exists()


def test_a_server_goes_away_with_the_process_that_started_it() -> None:
    program = (
        "from tests.servers.postgres import PostgresServer\n"
        "server = PostgresServer()\n"
        "server.start()\n"
        "print(server.socket_dir, flush=True)\n"
        "input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None
        home = Path(process.stdout.readline().strip())
        postmaster = int((home / "data" / "postmaster.pid").read_text().split()[0])
        # A process descriptor becomes readable when the process has ended.
        end = os.pidfd_open(postmaster)
        process.kill()
    try:
        ended, _, _ = select.select([end], [], [], 60)
    finally:
        os.close(end)
    assert ended, f"the server {postmaster} outlived its tests"


def test_a_failure_to_start_shows_the_servers_log(own_postgres: PostgresServer) -> None:
    own_postgres.stop()
    with pytest.raises(ServerError, match="max_connections"):
        own_postgres.set_max_connections(10**9)


def test_a_free_port_is_not_one_that_outgoing_connections_get() -> None:
    settings = Path("/proc/sys/net/ipv4/ip_local_port_range")
    first, last = map(int, settings.read_text().split())
    assert not first <= free_port() <= last
