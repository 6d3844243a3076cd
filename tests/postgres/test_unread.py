"""Bytes that wait on an idle connection's socket, in plain and below TLS, are not taken for its death."""

from __future__ import annotations

import select
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.patience import SAFETY
from tests.postgres.conftest import Place
from tests.postgres.worlds import WORLDS, World, ask, entered, fill, in_worlds, pid_of, query
from tests.servers.postgres import PostgresServer, Template


@pytest.fixture(scope="module")
def tls_server(
    postgres_template: Template, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PostgresServer]:
    """A server with a certificate of its own making."""
    key, certificate = make_certificate(tmp_path_factory.mktemp("tls"))
    with PostgresServer(template=postgres_template) as server:
        server._home.write("data/server.key", key)
        server._home.write("data/server.crt", certificate)
        with server.admin() as admin:
            admin.execute("alter system set ssl = on")
        server.restart()
        yield server


def make_certificate(folder: Path) -> tuple[str, str]:
    key, certificate = folder / "key", folder / "certificate"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    )
    subprocess.run([*command.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return key.read_text(), certificate.read_text()


@pytest.fixture(params=["plain", "tls"])
def line(request: pytest.FixtureRequest, postgres: PostgresServer, tls_server: PostgresServer) -> Place:
    """A place to connect to, in plain and by TLS."""
    number = sum(map(ord, request.node.name))
    return Place(tls_server if request.param == "tls" else postgres, f"unread-{request.param}-{number}")


def make_pool(world: World, line: Place, **options: Any) -> Any:
    mode = "require" if "tls" in line.name else "disable"
    return world.pool(f"{line.url(world)}&sslmode={mode}", **options)


def notify(line: Place, socket: int) -> None:
    """Send a notification, and return when its bytes wait. Blocks, so that the loop does not read them."""
    with closing(psycopg.connect(line.server.dsn, autocommit=True)) as other:
        other.execute("notify news")
    readable, _, _ = select.select([socket], [], [], SAFETY)
    assert readable


@in_worlds(WORLDS)
async def test_a_pending_notification_costs_a_ping_and_not_the_connection(world: World, line: Place) -> None:
    async with entered(make_pool(world, line, max_open=1)) as pool:
        async with entered(pool.connection()) as connection:
            await ask(connection, "listen news")
            encrypted = await ask(connection, "select ssl from pg_stat_ssl where pid = pg_backend_pid()")
            pid = await pid_of(connection)
            socket = pool._hooks.fileno(connection)
        assert encrypted == [("tls" in line.name,)]
        for _ in range(3):
            notify(line, socket)
            async with entered(pool.connection()) as connection:
                assert await pid_of(connection) == pid
        assert (pool.stats().dead_on_acquire, pool.stats().connect_count) == (0, 1)


@in_worlds(WORLDS)
async def test_a_changed_parameter_that_the_server_reports_costs_no_connection(
    world: World, line: Place
) -> None:
    async with entered(make_pool(world, line, max_open=3)) as pool:
        pids = await fill(pool, 3)
        with line.server.admin() as admin:
            try:
                for zone in ("Asia/Tokyo", "Europe/Paris"):
                    admin.execute(f"alter system set timezone = '{zone}'")
                    admin.execute("select pg_reload_conf()")
                    assert sorted(await fill(pool, 3)) == sorted(pids)
            finally:
                admin.execute("alter system reset timezone")
                admin.execute("select pg_reload_conf()")
        assert pool.stats().dead_on_acquire == 0


@in_worlds(WORLDS)
async def test_the_servers_last_words_are_told_from_other_unread_bytes(world: World, line: Place) -> None:
    async with entered(make_pool(world, line, max_open=3)) as pool:
        pids = await fill(pool, 3)
        assert line.kill() == 3  # blocks: the loop has read nothing of it
        await query(pool, 10)
        assert not set(pids) & set(await fill(pool, 3))
