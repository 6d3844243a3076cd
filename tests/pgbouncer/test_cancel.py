"""What a cancel request does when PgBouncer stands between: whom it reaches, and whom it cannot reach.

A client asks PgBouncer to cancel, by a key that PgBouncer gave it. PgBouncer passes the request on for the
server connection which that client has at this moment, and gives that connection to nobody else before the
server has answered the request.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from time import monotonic

import psycopg
import pytest
from psycopg.rows import TupleRow

import cenote
from tests.servers.fixtures_pgbouncer import MakePgBouncer
from tests.servers.pgbouncer import PgBouncer
from tests.servers.postgres import PostgresServer

SECONDS = 60.0  # more than any wait here takes

Connection = psycopg.Connection[TupleRow]


def connect(bouncer: PgBouncer, name: str) -> Connection:
    return psycopg.connect(bouncer.dsn, autocommit=True, prepare_threshold=None, application_name=name)


class Gate:
    """An advisory lock: statements wait on it, in the server, until it is opened."""

    wait = "select pg_advisory_xact_lock_shared(7)"

    def __init__(self, server: PostgresServer, admin: Connection) -> None:
        # Advisory locks belong to a database, and the admin's connection is to another.
        self._admin = admin
        self._holder = psycopg.connect(server.dsn, autocommit=True, application_name="gate")
        self._holder.execute("select pg_advisory_lock(7)")

    def wait_for_statements(self, count: int) -> None:
        """Return when so many wait; the server does the waiting."""
        end = monotonic() + SECONDS
        while monotonic() < end:
            row = self._admin.execute(
                "select count(*) from pg_locks where locktype = 'advisory' and not granted"
            ).fetchone()
            if row == (count,):
                return
            self._admin.execute("select pg_sleep(0.005)")
        raise AssertionError(f"{count} statements never waited at the gate")

    def open(self) -> None:
        """Let them pass."""
        self._holder.execute("select pg_advisory_unlock_all()")

    def close(self) -> None:
        """Close what holds the lock."""
        self._holder.close()


@pytest.fixture
def gate(breakable: PostgresServer) -> Iterator[Gate]:
    with breakable.admin() as admin:
        gate = Gate(breakable, admin)
        yield gate
        gate.close()


@contextmanager
def postmaster_stopped(server: PostgresServer) -> Iterator[None]:
    """Let nobody in, so that a cancel request stays under way; whoever is in goes on undisturbed."""
    pid = int((server.socket_dir / "data" / "postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def later(threads: ThreadPoolExecutor, connection: Connection, statement: str) -> Future[TupleRow | None]:
    return threads.submit(lambda: connection.execute(statement).fetchone())


def test_a_cancel_request_reaches_its_own_statement_alone(
    breakable: PostgresServer, make_pgbouncer: MakePgBouncer, threads: ThreadPoolExecutor, gate: Gate
) -> None:
    bouncer = make_pgbouncer(breakable, default_pool_size=2)
    with connect(bouncer, "one") as one, connect(bouncer, "two") as two:
        cancelled, spared = later(threads, one, Gate.wait), later(threads, two, Gate.wait)
        gate.wait_for_statements(2)
        one.cancel_safe(timeout=SECONDS)
        with pytest.raises(psycopg.errors.QueryCanceled):
            cancelled.result(SECONDS)
        gate.open()
        assert spared.result(SECONDS) is not None
        assert one.execute("select 1").fetchone() == (1,)


def test_a_cancel_request_that_comes_too_late_spares_the_next_user_of_the_server_connection(
    breakable: PostgresServer, make_pgbouncer: MakePgBouncer, threads: ThreadPoolExecutor, gate: Gate
) -> None:
    bouncer = make_pgbouncer(breakable, default_pool_size=1)
    with connect(bouncer, "one") as one, connect(bouncer, "two") as two:
        one.execute("select 1")
        running = later(threads, two, Gate.wait)
        gate.wait_for_statements(1)
        one.cancel_safe(timeout=SECONDS)  # its statement has ended, and two has the server connection
        assert not running.done()
        gate.open()
        assert running.result(SECONDS) is not None


def test_while_a_cancel_request_is_under_way_nobody_else_gets_the_server_connection(
    breakable: PostgresServer, make_pgbouncer: MakePgBouncer, threads: ThreadPoolExecutor, gate: Gate
) -> None:
    bouncer = make_pgbouncer(breakable, default_pool_size=1)
    with connect(bouncer, "one") as one, connect(bouncer, "two") as two:
        ended = later(threads, one, Gate.wait)
        gate.wait_for_statements(1)
        with postmaster_stopped(breakable):
            cancel = threads.submit(one.cancel_safe, timeout=SECONDS)
            bouncer.wait_for(cl_active_cancel_req=1)
            gate.open()
            assert ended.result(SECONDS) is not None  # the request has missed it
            next_one = later(threads, two, "select 'untouched'")
            bouncer.wait_for(cl_waiting=1, sv_being_canceled=1)
            assert not cancel.done()
        assert next_one.result(SECONDS) == ("untouched",)
        cancel.result(SECONDS)


def test_a_statement_that_waits_for_a_server_connection_is_not_cancelled(
    breakable: PostgresServer, make_pgbouncer: MakePgBouncer, threads: ThreadPoolExecutor
) -> None:
    bouncer = make_pgbouncer(breakable, default_pool_size=1)
    with connect(bouncer, "holder") as holder, connect(bouncer, "waits") as waits:
        holder.execute("begin")
        waiting = later(threads, waits, "select 'executed all the same'")
        bouncer.wait_for(cl_waiting=1)
        waits.cancel_safe(timeout=SECONDS)  # PgBouncer drops the request without a word
        bouncer.wait_for(cl_waiting=1, cl_active_cancel_req=0, cl_waiting_cancel_req=0)
        holder.execute("commit")
        assert waiting.result(SECONDS) == ("executed all the same",)


async def test_asyncpgs_cancel_reaches_its_own_statement_alone(
    breakable: PostgresServer, make_pgbouncer: MakePgBouncer, gate: Gate
) -> None:
    bouncer = make_pgbouncer(breakable, default_pool_size=2)
    url = f"{bouncer.url('postgresql+asyncpg')}?statement_cache_size=0"
    async with cenote.AsyncPool(url, max_open=2) as pool:

        async def wait() -> None:
            async with pool.connection() as connection:
                await connection.fetch(Gate.wait)

        spared, cancelled = asyncio.create_task(wait()), asyncio.create_task(wait())
        await asyncio.to_thread(gate.wait_for_statements, 2)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        await asyncio.to_thread(gate.wait_for_statements, 1)
        gate.open()
        await spared
