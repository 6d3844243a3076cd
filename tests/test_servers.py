"""The servers the other tests rely on do what their fixtures say."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pymysql
import pytest
import redis
from pymysql.cursors import Cursor

from tests.conftest import MakeMariaDB, MakePostgres, MakeRedis
from tests.servers.home import ServerError, free_port
from tests.servers.mariadb import PASSWORDS, MariaDBServer
from tests.servers.postgres import PostgresServer
from tests.servers.process import StopMode
from tests.servers.redis import TLS, RedisServer
from tests.tcp.server import make_certificate

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


PROGRAM = """
from tests.servers.{0} import {1}
server = {1}()
server.start()
print({2}, flush=True)
input()
"""
POSTMASTER = "(server.socket_dir / 'data' / 'postmaster.pid').read_text().split()[0]"
PROGRAMS = {
    "postgres": PROGRAM.format("postgres", "PostgresServer", POSTMASTER),
    "mariadb": PROGRAM.format("mariadb", "MariaDBServer", "server.pid"),
    "redis": PROGRAM.format("redis", "RedisServer", "server.pid"),
}


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_a_server_goes_away_with_the_process_that_started_it(program: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None
        server = int(process.stdout.readline())
        # A process descriptor becomes readable when the process has ended.
        end = os.pidfd_open(server)
        process.kill()
    try:
        ended, _, _ = select.select([end], [], [], 60)
    finally:
        os.close(end)
    assert ended, f"the server {server} outlived its tests"


def test_a_failure_to_start_shows_the_servers_log(own_postgres: PostgresServer) -> None:
    own_postgres.stop()
    with pytest.raises(ServerError, match="max_connections"):
        own_postgres.set_max_connections(10**9)


def test_a_free_port_is_not_one_that_outgoing_connections_get() -> None:
    settings = Path("/proc/sys/net/ipv4/ip_local_port_range")
    first, last = map(int, settings.read_text().split())
    assert not first <= free_port() <= last


def connect(
    server: MariaDBServer, user: str = "app", password: str | None = None, database: str = "app"
) -> pymysql.Connection[Cursor]:
    secret = PASSWORDS.get(user, "app-secret") if password is None else password
    return pymysql.connect(host=server.host, port=server.port, user=user, password=secret, database=database)


def answer(connection: pymysql.Connection[Cursor], question: str = "select current_user()") -> object:
    with connection.cursor() as cursor:
        cursor.execute(question)
        row = cursor.fetchone()
    assert row is not None
    return row[0]


def test_a_mariadb_accepts_connections_as_soon_as_it_is_started(mariadb: MariaDBServer) -> None:
    for user in ("app", "other"):
        with connect(mariadb, user, database=user) as connection:
            assert answer(connection, "select concat(current_user(), ' ', database())") == f"{user}@% {user}"


def test_a_mariadb_refuses_a_wrong_password_on_its_port_and_on_its_socket(mariadb: MariaDBServer) -> None:
    with pytest.raises(pymysql.OperationalError, match="Access denied"):
        connect(mariadb, password="wrong")
    with pytest.raises(pymysql.OperationalError, match="Access denied"):
        pymysql.connect(unix_socket=str(mariadb.socket), user="app", password="wrong")


def test_a_mariadb_listens_on_a_unix_socket(mariadb: MariaDBServer) -> None:
    address = str(mariadb.socket)
    with pymysql.connect(unix_socket=address, user="app", password=PASSWORDS["app"]) as connection:
        assert answer(connection) == "app@%"


def test_the_scheme_of_a_mariadb_url_is_the_drivers(mariadb: MariaDBServer) -> None:
    assert mariadb.url("mysql+asyncmy").startswith("mysql+asyncmy://app:")


def test_an_added_user_may_create_tables(mariadb: MariaDBServer) -> None:
    mariadb.add_user("maker", "maker's secret")
    with connect(mariadb, "maker", "maker's secret") as connection:
        assert answer(connection) == "maker@%"
        with connection.cursor() as cursor:
            cursor.execute("create table made_here (id int)")
            cursor.execute("drop table made_here")


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_restart_of_mariadb_kills_connections_and_keeps_data_and_port(
    own_mariadb: MariaDBServer, mode: StopMode
) -> None:
    port = own_mariadb.port
    own_mariadb.execute("create table app.kept as select 42 as answer")
    connection = connect(own_mariadb)
    own_mariadb.restart(mode)
    with pytest.raises(pymysql.OperationalError):
        answer(connection)
    assert own_mariadb.port == port
    assert own_mariadb.execute("select answer from app.kept") == [(42,)]


def test_a_stopped_mariadb_refuses_connections_and_starts_again(own_mariadb: MariaDBServer) -> None:
    own_mariadb.kill()
    assert not own_mariadb.running
    with pytest.raises(pymysql.OperationalError, match="refused"):
        connect(own_mariadb)
    own_mariadb.start()
    with connect(own_mariadb) as connection:
        assert answer(connection) == "app@%"


def test_killed_connections_are_counted_and_gone(own_mariadb: MariaDBServer) -> None:
    own_mariadb.add_user("doomed")
    doomed = connect(own_mariadb, "doomed")
    with connect(own_mariadb) as spared:
        assert own_mariadb.count_connections() == 2
        assert own_mariadb.kill_connections("doomed") == 1
        assert own_mariadb.count_connections() == own_mariadb.count_connections("app") == 1
        with pytest.raises(pymysql.OperationalError):
            answer(doomed)
        assert answer(spared) == "app@%"
    own_mariadb.wait_for_connections(0)


def test_the_limit_of_mariadb_is_exact_and_leaves_room_for_the_test(make_mariadb: MakeMariaDB) -> None:
    server = make_mariadb(max_connections=10)
    with ExitStack() as held:
        for _ in range(10):
            held.enter_context(connect(server))
        with pytest.raises(pymysql.OperationalError, match="Too many connections"):
            connect(server)
        with server.admin(), server.admin():
            assert server.count_connections() == 10
        server.set_max_connections(11)
        held.enter_context(connect(server))


def test_a_limit_that_mariadb_does_not_know_is_refused(make_mariadb: MakeMariaDB) -> None:
    with pytest.raises(ServerError, match="no max_connections below 10"):
        make_mariadb(max_connections=9)


def test_settings_of_mariadb_hold_from_the_start_and_can_be_changed(make_mariadb: MakeMariaDB) -> None:
    server = make_mariadb(settings={"wait_timeout": 7})
    assert server.execute("select @@global.wait_timeout") == [(7,)]
    server.set(wait_timeout=9)
    server.restart()
    assert server.execute("select @@global.wait_timeout") == [(9,)]


def test_a_closed_mariadb_leaves_nothing_behind(make_mariadb: MakeMariaDB) -> None:
    server = make_mariadb()
    server.close()
    server.close()
    assert not server.directory.exists()


def test_a_mariadb_that_fails_to_start_shows_its_log(make_mariadb: MakeMariaDB) -> None:
    with pytest.raises(ServerError, match="no_such_setting"):
        make_mariadb(settings={"no_such_setting": 1})


def client(url: str, **options: Any) -> redis.Redis:
    """Connect to a Redis at once, and never again."""
    once = redis.retry.Retry(redis.backoff.NoBackoff(), 0)
    return redis.Redis.from_url(url, retry=once, single_connection_client=True, **options)


def test_a_started_redis_accepts_connections_on_its_port_and_its_socket(redis_server: RedisServer) -> None:
    for url in (redis_server.url(), redis_server.url("unix")):
        with client(url) as connection:
            assert connection.ping()


def test_a_redis_refuses_a_wrong_password_on_its_port_and_on_its_socket(redis_server: RedisServer) -> None:
    for scheme in ("redis", "unix"):
        with pytest.raises(redis.AuthenticationError, match="invalid username-password"):
            client(redis_server.url(scheme, password="wrong"))


def test_a_redis_has_several_databases_and_nobody_else_s_data(make_redis: MakeRedis) -> None:
    one, two = make_redis(), make_redis()
    assert one.port != two.port
    with client(one.url(database=1)) as connection:
        connection.set("mine", 1)
    for url in (one.url(), two.url(database=1)):
        with client(url) as connection:
            assert connection.get("mine") is None


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_restart_of_redis_kills_connections_keeps_the_port_and_forgets_the_data(
    own_redis: RedisServer, mode: StopMode
) -> None:
    port, pid = own_redis.port, own_redis.pid
    with client(own_redis.url()) as connection:
        connection.set("kept", "no")
        own_redis.restart(mode)
        with pytest.raises(redis.ConnectionError):
            connection.ping()
    assert own_redis.port == port
    assert own_redis.pid != pid
    with own_redis.admin() as admin:
        assert admin.get("kept") is None


def test_a_stopped_redis_refuses_connections_and_starts_again(own_redis: RedisServer) -> None:
    own_redis.kill()
    assert not own_redis.running
    with pytest.raises(redis.ConnectionError, match="refused"):
        client(own_redis.url())
    own_redis.start()
    with client(own_redis.url()) as connection:
        assert connection.ping()


def test_killed_connections_of_redis_are_counted_and_gone(own_redis: RedisServer) -> None:
    doomed = client(own_redis.url(), client_name="doomed")
    with client(own_redis.url(), client_name="spared") as spared, own_redis.admin() as admin:
        assert own_redis.count_connections() == 2
        assert own_redis.kill_connections("doomed") == 1
        assert own_redis.count_connections() == own_redis.count_connections("spared") == 1
        with pytest.raises(redis.ConnectionError):
            doomed.ping()
        assert spared.ping()
        assert admin.ping()  # the test's own is neither counted nor killed
    doomed.close()
    own_redis.wait_for_connections(0)


def test_settings_of_redis_hold_from_the_start_and_can_be_changed(make_redis: MakeRedis) -> None:
    server = make_redis(settings={"maxclients": 7})
    with server.admin() as admin:
        assert admin.config_get("maxclients") == {"maxclients": "7"}
    server.set(maxclients=9)
    server.restart()
    with server.admin() as admin:
        assert admin.config_get("maxclients") == {"maxclients": "9"}


def test_a_redis_with_tls_speaks_nothing_else_on_its_port(make_redis: MakeRedis, tmp_path: Path) -> None:
    server = make_redis(tls=TLS(*make_certificate(tmp_path)))
    with client(server.url("rediss"), ssl_ca_certs=str(tmp_path / "certificate.pem")) as connection:
        assert connection.ping()
    with pytest.raises(redis.ConnectionError):
        client(server.url())


def test_a_closed_redis_leaves_nothing_behind(make_redis: MakeRedis) -> None:
    server = make_redis()
    for _ in range(2):
        server.close()
    assert not server.directory.exists()


def test_a_redis_that_fails_to_start_shows_its_log(make_redis: MakeRedis) -> None:
    with pytest.raises(ServerError, match="no-such-setting"):
        make_redis(settings={"no-such-setting": 1})
