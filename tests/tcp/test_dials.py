"""How a plain connection is opened: the socket's options, several addresses, TLS."""

from __future__ import annotations

import asyncio
import inspect
import socket
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
import uvloop

from cenote import AsyncPool, ConnectError, Pool
from cenote.drivers._endpoint import EndpointOptions, patience
from cenote.drivers.tcp import AsyncTCPConnector, TCPConnector
from tests.servers.home import free_port
from tests.tcp.conftest import tls_context
from tests.tcp.server import LineServer, ask, ask_async, make_certificate

Open = Callable[[str], dict[str, int]]
"""Opens one connection to a URL and returns the options of its socket."""

OPTIONS = {
    "nodelay": (socket.IPPROTO_TCP, socket.TCP_NODELAY),
    "keepalive": (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
    "idle": (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
    "interval": (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
    "count": (socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
    "user_timeout": (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
}


def read(sock: Any) -> dict[str, int]:
    return {name: sock.getsockopt(*option) for name, option in OPTIONS.items()}


def open_in_threads(url: str) -> dict[str, int]:
    with Pool(url) as pool, pool.connection() as connection:
        return read(connection)


def open_under(run: Callable[[Coroutine[Any, Any, dict[str, int]]], dict[str, int]]) -> Open:
    async def main(url: str) -> dict[str, int]:
        async with AsyncPool(url) as pool, pool.connection() as (_, writer):
            return read(writer.get_extra_info("socket"))

    return lambda url: run(main(url))


@pytest.fixture(
    params=[open_in_threads, open_under(asyncio.run), open_under(uvloop.run)],
    ids=["threads", "asyncio", "uvloop"],
)
def opened(request: pytest.FixtureRequest) -> Open:
    how: Open = request.param
    return how


def test_a_socket_sends_at_once_and_asks_a_silent_peer_by_default(server: LineServer, opened: Open) -> None:
    found = opened(server.url)
    assert found["nodelay"]
    assert found["keepalive"]
    assert (found["idle"], found["interval"], found["count"]) == (30, 10, 3)
    assert found["user_timeout"] == 0


def test_a_sockets_options_are_those_of_the_url(server: LineServer, opened: Open) -> None:
    found = opened(f"{server.url}?nodelay=off&tcp_keepalive=44500ms&user_timeout=20s")
    assert not found["nodelay"]
    assert (found["idle"], found["interval"], found["count"]) == (45, 15, 3)
    assert found["user_timeout"] == 20_000


def test_the_kernels_keepalive_can_be_left_off(server: LineServer, opened: Open) -> None:
    assert not opened(f"{server.url}?tcp_keepalive=none")["keepalive"]


# ── several addresses ───────────────────────────────────────────────────────────────────────────


@pytest.fixture
def two_addresses(server: LineServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name `lines.example` has two addresses; nobody listens at the first."""
    ports = (free_port(server.host), server.port)
    found = [
        (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (server.host, port)) for port in ports
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)


def test_the_next_address_is_tried(two_addresses: None) -> None:
    with Pool("tcp://lines.example:1") as pool, pool.connection() as connection:
        assert ask(connection, "hello") == "hello"


async def test_the_next_address_is_tried_in_asyncio(two_addresses: None) -> None:
    async with AsyncPool("tcp://lines.example:1") as pool, pool.connection() as connection:
        assert await ask_async(connection, "hello") == "hello"


def test_an_address_that_does_not_answer_leaves_time_for_the_others() -> None:
    addresses: list[Any] = [object(), object(), object()]
    shares = [left for _, left in patience(addresses, monotonic() + 9)]
    assert [round(share, 1) for share in shares] == [3.0, 4.5, 9.0]
    with pytest.raises(TimeoutError, match="no time is left"):
        list(patience(addresses, monotonic() - 1))


async def settled(call: Callable[[], Any]) -> None:
    """Call what may have to be awaited."""
    result = call()
    if inspect.isawaitable(result):
        await result


@pytest.mark.parametrize("pool_of", [Pool, AsyncPool])
async def test_a_server_that_is_not_there_is_named_with_the_reason(pool_of: Any, tmp_path: Path) -> None:
    for url in (f"tcp://127.0.0.1:{free_port('127.0.0.1')}", f"unix://{tmp_path}/nobody.sock"):
        pool = pool_of(url)
        with pytest.raises(ConnectError, match=r"cannot connect: (ConnectionRefused|FileNotFound)Error"):
            await settled(pool.ping)
        await settled(pool.close)


# ── TLS ─────────────────────────────────────────────────────────────────────────────────────────


def ca(tls_files: tuple[Path, Path]) -> str:
    return f"ssl_ca={tls_files[1]}"


async def both(url: str) -> str | None:
    """Open a connection in either world; return what each says of the certificate, or None for a success."""
    said = set[str | None]()
    for connector, timeout in ((TCPConnector.from_url(url), 5.0), (AsyncTCPConnector.from_url(url), 5.0)):
        try:
            opening: Any = connector.connect(timeout)
            connection = await opening if inspect.isawaitable(opening) else opening
            closing: Any = connector.close(connection)
            if closing is not None:
                await closing
        except ssl.SSLCertVerificationError as error:
            said.add(error.verify_message)
        else:
            said.add(None)
    (answer,) = said
    return answer


async def test_a_certificate_is_checked_and_the_name_in_it_unless_told_otherwise(
    tls_server: LineServer, tls_files: tuple[Path, Path], tmp_path: Path
) -> None:
    url, mine = tls_server.url, ca(tls_files)
    stranger = make_certificate(tmp_path)[1]
    assert "self-signed" in str(await both(url))
    assert "self-signed" in str(await both(f"{url}?ssl_ca={stranger}"))
    assert await both(f"{url}?ssl_verify_cert=off") is None
    assert await both(f"{url}?{mine}") is None
    assert await both(f"{url}?{mine}&server_hostname=lines.example") is None
    assert "other.example" in str(await both(f"{url}?{mine}&server_hostname=other.example"))
    assert await both(f"{url}?{mine}&server_hostname=other.example&ssl_verify_identity=off") is None


def test_name_and_certificate_are_checked_when_the_systems_authorities_are_trusted_too() -> None:
    endpoint = TCPConnector("db", 1, tls=True)._endpoint
    assert endpoint is not None
    assert endpoint.context is not None
    assert endpoint.context.check_hostname
    assert endpoint.context.verify_mode is ssl.CERT_REQUIRED


async def test_our_own_certificate_is_shown_when_asked_for(tls_files: tuple[Path, Path]) -> None:
    key, certificate = tls_files
    context = tls_context(tls_files)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(certificate)
    with LineServer(tls=context) as server:
        url = f"{server.url}?{ca(tls_files)}&ssl_cert={certificate}&ssl_key={key}"
        with Pool(url) as pool, pool.connection() as connection:
            assert ask(connection, "hello") == "hello"
        async with AsyncPool(url) as apool, apool.connection() as stream:
            assert await ask_async(stream, "hello") == "hello"


def test_every_option_of_a_peer_is_explained() -> None:
    described = inspect.getdoc(TCPConnector) or ""
    assert [name for name in EndpointOptions.__annotations__ if f"\n    {name}: " not in described] == []
