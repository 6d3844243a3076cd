"""From a URL to a connector: every mistake is found before anything is opened, and no password is shown."""

from __future__ import annotations

import logging
import socket
import sys
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cenote.drivers import async_connector_for, connector_for
from cenote.drivers.aiomysql import AiomysqlConnector
from cenote.drivers.aiosqlite import AioSQLiteConnector
from cenote.drivers.asyncmy import AsyncmyConnector
from cenote.drivers.asyncpg import AsyncpgConnector
from cenote.drivers.mysqlconnector import MySQLConnectorConnector
from cenote.drivers.mysqldb import MySQLdbConnector
from cenote.drivers.psycopg import AsyncPsycopgConnector, PsycopgConnector
from cenote.drivers.psycopg2 import Psycopg2Connector
from cenote.drivers.pymysql import PyMySQLConnector
from cenote.drivers.sqlite import SQLiteConnector
from cenote.errors import ConfigError
from tests.drivers.cases import TIMEOUT, done
from tests.drivers.schemes import POSTGRES, SECRET, Make, each_driver
from tests.servers.mariadb import MariaDBServer
from tests.servers.postgres import PostgresServer


@pytest.fixture
def server(scheme: str, request: pytest.FixtureRequest) -> PostgresServer | MariaDBServer:
    """Return the server that a scheme is for, which all tests share."""
    found: PostgresServer | MariaDBServer
    found = request.getfixturevalue("postgres" if scheme.startswith("postgres") else "mariadb")
    return found


@pytest.mark.parametrize(
    ("make", "url", "kind"),
    [
        (connector_for, "sqlite:///app.db", SQLiteConnector),
        (connector_for, "postgresql://db/app", PsycopgConnector),
        (connector_for, "postgres://db/app", PsycopgConnector),
        (connector_for, "POSTGRESQL://db/app", PsycopgConnector),
        (connector_for, "postgresql+psycopg://db/app", PsycopgConnector),
        (connector_for, "postgresql+psycopg2://db/app", Psycopg2Connector),
        (async_connector_for, "sqlite:///app.db", AioSQLiteConnector),
        (async_connector_for, "postgresql://db/app", AsyncPsycopgConnector),
        (async_connector_for, "postgres+asyncpg://db/app", AsyncpgConnector),
        (async_connector_for, "postgresql+asyncpg://db/app", AsyncpgConnector),
        (connector_for, "mysql://db/app", PyMySQLConnector),
        (connector_for, "mariadb://db/app", PyMySQLConnector),
        (connector_for, "mysql+pymysql://db/app", PyMySQLConnector),
        (connector_for, "mysql+mysqldb://db/app", MySQLdbConnector),
        (connector_for, "mariadb+mysqlconnector://db/app", MySQLConnectorConnector),
        (async_connector_for, "mysql://db/app", AsyncmyConnector),
        (async_connector_for, "MariaDB://db/app", AsyncmyConnector),
        (async_connector_for, "mysql+asyncmy://db/app", AsyncmyConnector),
        (async_connector_for, "mysql+aiomysql://db/app", AiomysqlConnector),
    ],
)
def test_a_scheme_finds_its_connector(make: Make, url: str, kind: type[Any]) -> None:
    assert type(make(url)) is kind


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://",
        "postgresql:///app",
        "postgresql://one:5432,two:5433/app?target_session_attrs=any",
        "postgresql://[::1]:5432/app",
        "postgresql://%2Frun%2Fpostgresql/app",
        "postgresql://app:p%40ss@db/app?sslmode=require&application_name=a%20b",
    ],
)
def test_an_address_may_take_every_form_libpq_knows(url: str) -> None:
    connector_for(url)
    async_connector_for(url)
    async_connector_for(url.replace("postgresql", "postgresql+asyncpg", 1))


def test_an_unknown_scheme_is_refused_with_the_nearest_and_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"postgress://; did you mean postgresql://\? .* sqlite://"):
        connector_for("postgress://db/app")


def test_a_driver_for_asyncio_in_a_threaded_pool_is_refused_with_the_way_out() -> None:
    with pytest.raises(ConfigError, match=r"use cenote.AsyncPool, or a URL that begins with postgresql://"):
        connector_for("postgresql+asyncpg://db/app")


def test_a_driver_for_threads_in_an_async_pool_is_refused_with_the_way_out() -> None:
    with pytest.raises(ConfigError, match=r"use cenote.Pool, or a URL that begins with postgresql://"):
        async_connector_for("postgresql+psycopg2://db/app")


@pytest.mark.parametrize("text", ["", "app.db", "host=db password=" + SECRET, f"app:{SECRET}@db/app"])
def test_what_is_no_url_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match=r"not a URL; write scheme://") as caught:
        connector_for(text)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "scheme", "package", "extra"),
    [
        (connector_for, "postgresql", "psycopg", "postgresql"),
        (async_connector_for, "postgresql", "psycopg", "postgresql"),
        (connector_for, "postgresql+psycopg2", "psycopg2", "psycopg2"),
        (async_connector_for, "postgresql+asyncpg", "asyncpg", "asyncpg"),
        (async_connector_for, "sqlite", "aiosqlite", "sqlite"),
        (connector_for, "mysql", "pymysql", "mysql"),
        (connector_for, "mysql+mysqldb", "MySQLdb", "mysqlclient"),
        (connector_for, "mysql+mysqlconnector", "mysql.connector", "mysqlconnector"),
        (async_connector_for, "mysql", "asyncmy", "asyncmy"),
        (async_connector_for, "mysql+aiomysql", "aiomysql", "aiomysql"),
    ],
)
def test_a_missing_driver_is_named_with_the_extra_that_brings_it(
    make: Make, scheme: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = package.lower().replace(".", "")
    monkeypatch.delitem(sys.modules, f"cenote.drivers.{ours}", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=rf"pip install 'cenote\[{extra}\]'") as caught:
        make(f"{scheme}://app:{SECRET}@db/app")
    assert SECRET not in str(caught.value)


@each_driver
@pytest.mark.parametrize("port", ["0", "65536", "five", "5432:1"])
def test_a_port_that_is_none_is_refused(make: Make, scheme: str, port: str) -> None:
    with pytest.raises(ConfigError, match=r"a port from 1 to 65535") as caught:
        make(f"{scheme}://app:{SECRET}@db:{port}/app")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg2"])
def test_a_parameter_libpq_does_not_know_is_named(scheme: str) -> None:
    with pytest.raises(ConfigError, match='"sslmod"') as caught:
        connector_for(f"{scheme}://app:{SECRET}@db/app?sslmod=require")
    assert SECRET not in str(caught.value)
    assert caught.value.__context__ is None


def test_a_libpq_string_is_read_too() -> None:
    with pytest.raises(ConfigError, match='"hots"') as caught:
        PsycopgConnector(f"hots=db password={SECRET}")
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(PsycopgConnector(f"host=db password={SECRET}"))


@pytest.mark.parametrize("connector", [PsycopgConnector, AsyncPsycopgConnector, Psycopg2Connector])
def test_a_misspelt_keyword_is_named(connector: type[Any]) -> None:
    with pytest.raises(ConfigError, match='"hots"') as caught:
        connector("postgresql://db/app", hots="db", password=SECRET)
    assert SECRET not in str(caught.value)


def test_the_drivers_own_parameters_are_taken_out_of_the_url() -> None:
    psycopg = connector_for("postgresql://db/app?sslmode=disable&prepare_threshold=none&application_name=a")
    assert psycopg._kwargs["prepare_threshold"] is None  # type: ignore[attr-defined]
    assert psycopg._conninfo == "postgresql://db/app?sslmode=disable&application_name=a"  # type: ignore[attr-defined]
    asyncpg = async_connector_for("postgresql+asyncpg://db/app?statement_cache_size=0&command_timeout=2s")
    assert asyncpg._kwargs == {"statement_cache_size": 0, "command_timeout": 2.0}  # type: ignore[attr-defined]
    assert asyncpg._dsn == "postgresql://db/app"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("statement_cache_size=many", r"statement_cache_size: must be a whole number, got 'many'"),
        ("command_timeout=5", r"command_timeout: .*unit"),
        ("statement_cache_size=1&statement_cache_size=2", r"given twice"),
    ],
)
def test_a_bad_value_of_the_drivers_own_parameter_is_refused(query: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        async_connector_for(f"postgresql+asyncpg://db/app?{query}")


async def test_what_asyncpg_finds_wrong_with_a_url_is_a_config_error_without_the_password() -> None:
    connector = async_connector_for(f"postgresql+asyncpg://app:{SECRET}@db/app?sslmode=sometimes")
    with pytest.raises(ConfigError, match=r"asyncpg cannot read .*sslmode=sometimes") as caught:
        await connector.connect(TIMEOUT)
    assert SECRET not in str(caught.value)


@each_driver
async def test_a_wrong_password_is_reported_by_the_driver_without_it(
    make: Make, scheme: str, server: PostgresServer | MariaDBServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    connector = make(server.url(scheme, password=SECRET))
    with pytest.raises(Exception, match=r"password authentication failed|Access denied") as caught:
        await done(connector.connect(TIMEOUT))
    assert SECRET not in f"{caught.value!r} {caught.value.__context__!r} {connector!r} {caplog.text}"


@each_driver
async def test_an_unreachable_host_is_reported_by_the_driver_without_the_password(
    make: Make, scheme: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    connector = make(f"{scheme}://app:{SECRET}@127.0.0.1:{port}/app")
    with pytest.raises(Exception, match=r"(?i)refused|connect call failed|can't connect") as caught:
        await done(connector.connect(TIMEOUT))
    assert SECRET not in f"{caught.value!r} {caught.value.__context__!r} {connector!r}"


@each_driver
async def test_a_password_with_every_special_character_arrives(
    make: Make, scheme: str, server: PostgresServer | MariaDBServer
) -> None:
    connector = make(server.url(scheme, user="other", database="other"))
    await done(connector.close(await done(connector.connect(TIMEOUT))))


@given(
    password=st.text(
        alphabet=st.sampled_from("@:/?#%&=+[]\"' ,;\\") | st.characters(min_codepoint=33),
        min_size=6,
        max_size=20,
    ).map(lambda text: f"Z9{text}Z9"),
    encoded=st.booleans(),
    tail=st.sampled_from(["@db/app", "@db:99999/app", "@db:x/app", "@db/app?sslmod=1", "@db:1:2/app"]),
    scheme=st.sampled_from(
        [scheme for _, scheme in POSTGRES.values()]
        + ["postgress", "mysql", "mysql+mysqldb", "mariadb+mysqlconnector", "mysql+aiomysql"]
    ),
)
def test_no_password_is_ever_shown(password: str, tail: str, scheme: str, *, encoded: bool) -> None:
    url = f"{scheme}://app:{quote(password, safe='') if encoded else password}{tail}"
    for make in (connector_for, async_connector_for):
        try:
            shown = repr(make(url))
        except ConfigError as error:
            shown = f"{error} {error.__cause__!r} {error.__context__!r}"
        # However a driver cuts it to pieces, its beginning or its end would be in one of them.
        assert "Z9" not in shown
