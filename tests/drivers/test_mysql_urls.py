"""From a mysql:// URL to keyword arguments; what makes no sense is refused before anything is opened."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest

from cenote.drivers import async_connector_for, connector_for
from cenote.drivers.aiomysql import AiomysqlConnector
from cenote.drivers.asyncmy import AsyncmyConnector
from cenote.drivers.mysqlconnector import MySQLConnectorConnector
from cenote.drivers.mysqldb import MySQLdbConnector
from cenote.drivers.pymysql import PyMySQLConnector
from cenote.errors import ConfigError
from tests.drivers.cases import TIMEOUT, MariaDBPlace, ask, done
from tests.drivers.schemes import MYSQL, SECRET, Make, each_mysql

CONNECTORS = [
    PyMySQLConnector,
    MySQLdbConnector,
    MySQLConnectorConnector,
    AsyncmyConnector,
    AiomysqlConnector,
]


def test_each_part_of_a_url_becomes_a_keyword() -> None:
    url = "mysql://a%40b:p%3Aq%2F@db.example:3307/my%2Fapp?charset=latin1&init_command=SET%20@x=1&read_timeout=2s"
    with pytest.raises(ConfigError, match="special characters"):  # a raw @ could be the end of a password
        connector_for(url)
    made: Any = connector_for(url.replace("@x", "%40x"))
    assert made._kwargs == {
        "autocommit": True,
        "charset": "latin1",
        "database": "my/app",
        "host": "db.example",
        "init_command": "SET @x=1",
        "password": b"p:q/",
        "port": 3307,
        "read_timeout": 2.0,
        "user": "a@b",
    }


def test_the_charset_is_utf8mb4_and_autocommit_is_on_unless_told_otherwise() -> None:
    made: Any = connector_for("mysql://db")
    assert made._kwargs == {"charset": "utf8mb4", "autocommit": True, "host": "db"}
    assert PyMySQLConnector(autocommit=False)._kwargs["autocommit"] is False


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("mysql://app:x@db/app", "'app@db:3306/app'"),
        ("mysql://[::1]:3307/", "'::1:3307/'"),
        ("mysql:///app?unix_socket=/run/mysqld/mysqld.sock", "'/run/mysqld/mysqld.sock/app'"),
    ],
)
def test_a_connector_shows_its_address_and_no_password(url: str, shown: str) -> None:
    assert repr(connector_for(url)) == f"PyMySQLConnector({shown})"
    assert (
        repr(async_connector_for(url.replace("mysql", "mysql+aiomysql", 1))) == f"AiomysqlConnector({shown})"
    )


@each_mysql
@pytest.mark.parametrize(
    "tail", ["@one,two/app", "@db/app#x", "/12@db/app", "@db/app/more", "/12?x=1@db/app"]
)
def test_what_may_be_a_password_cut_in_pieces_is_refused_unseen(make: Make, scheme: str, tail: str) -> None:
    with pytest.raises(ConfigError, match=r"%XX|%2F|%23|host:port") as caught:
        make(f"{scheme}://app:3306{SECRET}{tail}")
    assert SECRET not in str(caught.value)


@each_mysql
def test_an_unknown_parameter_is_refused_with_the_nearest_one(make: Make, scheme: str) -> None:
    with pytest.raises(ConfigError, match=r"unknown parameter 'charst' .*did you mean 'charset'") as caught:
        make(f"{scheme}://app:{SECRET}@db/app?charst=utf8mb4")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("connector", [one for one in CONNECTORS if one is not MySQLdbConnector])
def test_a_misspelt_keyword_is_refused_with_the_nearest_one(connector: type[Any]) -> None:
    with pytest.raises(ConfigError, match=r"unknown parameter 'charst' .*did you mean 'charset'"):
        connector(charst="utf8mb4", password=SECRET)


@each_mysql
@pytest.mark.parametrize("charset", ["gbk", "GBK", "big5", "cp932", "gb2312", "gb18030", "sjis"])
def test_a_charset_in_which_quoting_is_not_safe_is_refused(make: Make, scheme: str, charset: str) -> None:
    with pytest.raises(ConfigError, match=rf"charset: '{charset}' is unsafe: .*write charset='utf8mb4'"):
        make(f"{scheme}://app@db/app?charset={charset}")


@pytest.mark.parametrize("connector", CONNECTORS[:3], ids=list(MYSQL)[:3])
def test_a_collation_of_such_a_charset_is_refused(connector: type[Any]) -> None:
    with pytest.raises(ConfigError, match="collation: 'gbk_chinese_ci' is unsafe"):
        connector(host="db", collation="gbk_chinese_ci")


@each_mysql
def test_a_file_for_tls_that_cannot_be_read_is_named(make: Make, scheme: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ssl_ca: cannot read '/no/such' \(No such file"):
        make(f"{scheme}://app@db/app?ssl_ca=/no/such")
    (tmp_path / "ca").write_text("no certificate")
    with pytest.raises(ConfigError, match=r"ssl_ca, .*cannot be used .*PEM"):
        make(f"{scheme}://app@db/app?ssl_ca={tmp_path}/ca")
    with pytest.raises(ConfigError, match=r"ssl_key: got a key without a certificate"):
        make(f"{scheme}://app@db/app?ssl_key={tmp_path}/ca")


def test_tls_checks_as_much_as_was_asked_for() -> None:
    def context(query: str) -> ssl.SSLContext:
        made: Any = async_connector_for(f"mysql://db/app?{query}")
        found: ssl.SSLContext = made._kwargs["ssl"]
        return found

    assert context("ssl_verify_cert=off").verify_mode is ssl.CERT_NONE
    assert context("ssl_verify_cert=on").verify_mode is ssl.CERT_REQUIRED
    assert not context("ssl_verify_cert=on").check_hostname
    assert context("ssl_verify_identity=on").check_hostname
    assert "ssl" not in async_connector_for("mysql://db/app?ssl_disabled=on")._kwargs  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="ssl_verify_identity: needs ssl_verify_cert"):
        context("ssl_verify_identity=on&ssl_verify_cert=off")


@each_mysql
async def test_a_password_in_any_script_arrives(make: Make, scheme: str, maria_place: MariaDBPlace) -> None:
    maria_place.server.add_user(maria_place.name, "päß→wörd")
    connector = make(maria_place.url(scheme))
    connection = await done(connector.connect(TIMEOUT))
    if hasattr(connector, "reset"):
        await done(connector.reset(connection))
    await done(connector.close(connection))


@each_mysql
async def test_a_unix_socket_is_an_address_too(make: Make, scheme: str, maria_place: MariaDBPlace) -> None:
    server = maria_place.server
    connector = make(f"{scheme}://{maria_place.name}:app-secret@/app?unix_socket={server.socket}")
    connection = await done(connector.connect(TIMEOUT))
    hosts = server.execute(
        "select host from information_schema.processlist where user = %s", maria_place.name
    )
    assert hosts == [("localhost",)]
    assert await ask(connection, "select 1") == [(1,)]
    assert connector.fileno(connection) is not None
    await done(connector.close(connection))


@each_mysql
async def test_parameters_of_the_url_reach_the_server(
    make: Make, scheme: str, maria_place: MariaDBPlace
) -> None:
    query = "charset=latin1&init_command=set%20session%20lock_wait_timeout=17"
    connector = make(f"{maria_place.url(scheme)}?{query}")
    connection = await done(connector.connect(TIMEOUT))
    told = "select @@character_set_client, @@lock_wait_timeout, @@autocommit"
    assert await ask(connection, told) == [("latin1", 17, 1)]
    await done(connector.reset(connection))
    assert await ask(connection, told) == [("latin1", 17, 1)]
    await done(connector.close(connection))
