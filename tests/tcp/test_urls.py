"""What is wrong with an address, or with a connector's arguments, is said before anything is opened."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from cenote import AsyncPool, ConfigError, Pool
from cenote.drivers.tcp import AsyncTCPConnector, TCPConnector

SECRET = "hunter2-s3cret"
POOLS: list[Any] = [Pool, AsyncPool]
CONNECTORS: list[Any] = [TCPConnector, AsyncTCPConnector]

ROWS = [
    ("tcp://", "tcp://host:port"),
    ("tcp://db", "tcp://host:port"),
    ("tcp://db:", "tcp://host:port"),
    ("tcp://:6000", "tcp://host:port"),
    ("tls://db", "tls://host:port"),
    ("tcp://db:0", "port from 1 to 65535"),
    ("tcp://db:65536", "port from 1 to 65535"),
    ("tcp://db:http", "host:port"),
    ("tcp://::1:6000", "[brackets]"),
    ("tcp://db:6000/path", "nothing else"),
    ("tcp://db:6000#top", "nothing else"),
    ("tcp://one:1,two:2", "one host"),
    (f"tcp://app:{SECRET}@db:6000", "nothing else"),
    ("tcp://db:6000?nodelay=perhaps", "nodelay: must be on or off"),
    ("tcp://db:6000?nodely=on", "did you mean 'nodelay'"),
    ("tcp://db:6000?nodelay=on&nodelay=off", "given twice"),
    ("tcp://db:6000?tcp_keepalive=soon", "tcp_keepalive"),
    ("tcp://db:6000?tcp_keepalive=0s", "tcp_keepalive: must be from 1s"),
    ("tcp://db:6000?tcp_keepalive=10h", "tcp_keepalive: must be from 1s to 32767s"),
    ("tcp://db:6000?user_timeout=0s", "user_timeout: must be from 1ms"),
    ("tcp://db:6000?user_timeout=600h", "user_timeout: must be from 1ms to 596h"),
    ("tcp://db:6000?ssl_ca=/no/such", "write tls://"),
    ("tls://db:6000?ssl_ca=/no/such", "ssl_ca: cannot read '/no/such'"),
    ("tls://db:6000?ssl_key=/no/such", "write ssl_cert"),
    ("tls://db:6000?ssl_verify_cert=off&ssl_verify_identity=on", "needs ssl_verify_cert"),
    (f"tcp://db:6000?password={SECRET}", "unknown parameter 'password'"),
    ("unix://run/lines.sock", "unix:///path"),
    ("unix:///", "unix:///path"),
    ("unix:///run/lines.sock?nodelay=on", "unknown parameter 'nodelay'"),
    (f"unix:///{'x' * 120}", "path: must have from 1 to"),
]


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize(("url", "words"), ROWS)
def test_a_bad_address_is_refused_with_a_remedy(pool: Any, url: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        pool(url)
    assert words in str(caught.value)
    assert SECRET not in str(caught.value)


async def plain(*_: object) -> Any:
    """Do nothing, as a coroutine function."""


MISTAKES: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
    ((), {}, "host: give either"),
    (("db", 1), {"path": "/run/x"}, "host: give either"),
    (("db",), {}, "port: must be a number"),
    (("db", "6000"), {}, "port: must be a number"),
    (("db", True), {}, "port: must be a number"),
    (("db", 1), {"server_hostname": "db"}, "server_hostname: has no effect without TLS"),
    ((), {"path": "/run/x", "tls": True}, "tls: is spoken over TCP only"),
    ((), {"path": ""}, "path: must have from 1 to"),
    (("db", 1), {"connect": socket.socket}, "host: has no effect with connect"),
    ((), {"connect": socket.socket, "nodelay": False}, "nodelay: has no effect with connect"),
    (("db", 1), {"user_timeout": "soon"}, "user_timeout"),
]


@pytest.mark.parametrize("connector", CONNECTORS)
@pytest.mark.parametrize(("positional", "named", "words"), MISTAKES)
def test_a_bad_argument_is_refused_with_a_remedy(
    connector: Any, positional: tuple[Any, ...], named: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        connector(*positional, **named)


@pytest.mark.parametrize("connector", CONNECTORS)
def test_an_unknown_argument_is_a_type_error(connector: Any) -> None:
    with pytest.raises(TypeError, match="did you mean 'nodelay'"):
        connector("db", 1, no_delay=True)


@pytest.mark.parametrize("name", ["healthy", "connect"])
def test_threads_take_no_coroutine_functions(name: str) -> None:
    given: dict[str, Any] = {name: plain}
    with pytest.raises(ConfigError, match=f"{name}: is a coroutine function; use cenote.AsyncPool"):
        TCPConnector(**given)


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize(
    ("url", "name", "shown"),
    [
        ("tcp://db:6000?nodelay=off", "db:6000", "'tcp://db:6000'"),
        ("TLS://[::1]:6000/", "[::1]:6000", "'tls://[::1]:6000'"),
        ("unix:///run/my%20lines.sock", "my%20lines.sock", "'unix:///run/my lines.sock'"),
    ],
)
def test_a_pool_is_named_after_its_address(pool: Any, url: str, name: str, shown: str) -> None:
    made = pool(url)
    assert made.name == name
    assert shown in repr(made._connector)


@pytest.mark.parametrize("pool", POOLS)
def test_options_of_the_pool_may_stand_in_the_address(pool: Any) -> None:
    made = pool("tcp://db:6000?max_open=3&keepalive=1m&tcp_keepalive=2m")
    assert made.options.max_open == 3
    assert made.options.keepalive == 60
    assert made._connector._endpoint.keepalive == 120


def test_a_connector_with_a_function_shows_no_address() -> None:
    assert repr(TCPConnector(connect=socket.socket)) == "TCPConnector(connect=...)"
    assert repr(AsyncTCPConnector(connect=lambda: asyncio.open_connection("db", 1))).endswith("(connect=...)")


def test_a_path_may_be_a_path(tmp_path: Path) -> None:
    assert "lines.sock" in repr(TCPConnector(path=tmp_path / "lines.sock"))
