"""The PgBouncer that the other tests rely on does what its fixture says."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from tests.servers.fixtures_pgbouncer import MakePgBouncer
from tests.servers.home import ServerError
from tests.servers.pgbouncer import PgBouncer
from tests.servers.postgres import PostgresServer

ROOT = Path(__file__).resolve().parents[2]


def connect(bouncer: PgBouncer) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(bouncer.dsn, autocommit=True, prepare_threshold=None)


def pid_behind(connection: psycopg.Connection[tuple[object, ...]]) -> object:
    row = connection.execute("select pg_backend_pid()").fetchone()
    assert row is not None
    return row[0]


@pytest.mark.parametrize("mode", ["session", "transaction", "statement"])
def test_statements_pass_through(postgres: PostgresServer, make_pgbouncer: MakePgBouncer, mode: str) -> None:
    bouncer = make_pgbouncer(postgres, pool_mode=mode)
    with connect(bouncer) as connection:
        assert connection.execute("select 6 * %s", (7,)).fetchone() == (42,)
    assert bouncer.pool()["pool_mode"] == mode


def test_both_roles_log_in_with_their_passwords(
    postgres: PostgresServer, make_pgbouncer: MakePgBouncer
) -> None:
    bouncer = make_pgbouncer(postgres)
    for role in ("app", "other"):
        with psycopg.connect(bouncer.url(user=role, database=role), autocommit=True) as connection:
            row = connection.execute("select current_user || '@' || current_database()").fetchone()
            assert row == (f"{role}@{role}",)


def test_a_wrong_password_is_refused(postgres: PostgresServer, make_pgbouncer: MakePgBouncer) -> None:
    bouncer = make_pgbouncer(postgres)
    with pytest.raises(psycopg.OperationalError, match="SASL authentication failed"):
        psycopg.connect(bouncer.url(password="wrong"))


def test_in_transaction_mode_clients_share_a_server_connection(
    postgres: PostgresServer, make_pgbouncer: MakePgBouncer
) -> None:
    bouncer = make_pgbouncer(postgres, pool_mode="transaction", default_pool_size=1)
    with connect(bouncer) as one, connect(bouncer) as two:
        assert pid_behind(one) == pid_behind(two)
        assert bouncer.pool()["cl_active"] == 2


def test_in_session_mode_each_client_has_its_own(
    postgres: PostgresServer, make_pgbouncer: MakePgBouncer
) -> None:
    bouncer = make_pgbouncer(postgres, pool_mode="session")
    with connect(bouncer) as one, connect(bouncer) as two:
        assert pid_behind(one) != pid_behind(two)


def test_in_statement_mode_a_transaction_is_refused(
    postgres: PostgresServer, make_pgbouncer: MakePgBouncer
) -> None:
    bouncer = make_pgbouncer(postgres, pool_mode="statement")
    with (
        connect(bouncer) as connection,
        pytest.raises(psycopg.OperationalError, match="transaction blocks not allowed"),
    ):
        connection.execute("begin")


def test_clients_above_max_client_conn_are_refused(
    postgres: PostgresServer, make_pgbouncer: MakePgBouncer
) -> None:
    bouncer = make_pgbouncer(postgres, max_client_conn=3)
    with ExitStack() as held:
        for _ in range(3):
            held.enter_context(connect(bouncer))
        with pytest.raises(psycopg.OperationalError, match="max_client_conn"):
            connect(bouncer)


def test_the_server_sees_no_more_than_default_pool_size(
    breakable: PostgresServer, make_pgbouncer: MakePgBouncer, threads: ThreadPoolExecutor
) -> None:
    bouncer = make_pgbouncer(breakable, default_pool_size=2)
    with ExitStack() as held:
        clients = [held.enter_context(connect(bouncer)) for _ in range(5)]
        for client in clients[:2]:
            client.execute("begin")
        assert len({pid_behind(client) for client in clients[:2]}) == 2
        third = threads.submit(pid_behind, clients[2])
        bouncer.wait_for(sv_active=2, cl_waiting=1)
        assert breakable.count_backends() == 2
        freed = pid_behind(clients[0])
        clients[0].execute("commit")
        assert third.result() == freed


def test_a_restart_ends_every_client_and_keeps_the_port(
    postgres: PostgresServer, make_pgbouncer: MakePgBouncer
) -> None:
    bouncer = make_pgbouncer(postgres)
    port = bouncer.port
    with connect(bouncer) as connection:
        bouncer.restart()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("select 1")
    assert bouncer.port == port
    with connect(bouncer) as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def test_when_stopped_it_refuses_connections(postgres: PostgresServer, make_pgbouncer: MakePgBouncer) -> None:
    bouncer = make_pgbouncer(postgres)
    bouncer.stop()
    assert not bouncer.running
    with pytest.raises(psycopg.OperationalError, match="refused"):
        connect(bouncer)


def test_the_console_answers(postgres: PostgresServer, make_pgbouncer: MakePgBouncer) -> None:
    bouncer = make_pgbouncer(postgres, default_pool_size=7, query_wait_timeout=77)
    with bouncer.console() as console:
        config = {row["key"]: row["value"] for row in console.execute("SHOW CONFIG").fetchall()}
    assert config["default_pool_size"] == "7"
    assert config["query_wait_timeout"] == "77"


def test_a_closed_one_leaves_nothing_behind(postgres: PostgresServer, make_pgbouncer: MakePgBouncer) -> None:
    bouncer = make_pgbouncer(postgres)
    bouncer.close()
    bouncer.close()
    assert not bouncer.directory.exists()


def test_a_failure_to_start_shows_the_log(postgres: PostgresServer, make_pgbouncer: MakePgBouncer) -> None:
    with pytest.raises(ServerError, match="nonsense"):
        make_pgbouncer(postgres, server_lifetime="nonsense")


def test_it_goes_away_with_the_process_that_started_it() -> None:
    program = (
        "from tests.servers.pgbouncer import PgBouncer\n"
        "from tests.servers.postgres import PostgresServer\n"
        "bouncer = PgBouncer(PostgresServer())\n"  # it starts without the server behind it
        "bouncer.start()\n"
        "print(bouncer.directory, flush=True)\n"
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
        # A process descriptor becomes readable when the process has ended.
        end = os.pidfd_open(int((home / "pid").read_text()))
        process.kill()
    try:
        ended, _, _ = select.select([end], [], [], 60)
    finally:
        os.close(end)
    assert ended, f"PgBouncer of {home} outlived its tests"
