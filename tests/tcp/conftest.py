"""Servers of lines: plain, on a Unix path, with TLS."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from tests.tcp.server import LineServer, make_certificate

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    runner: Run = request.param
    return runner


def tls_context(tls_files: tuple[Path, Path]) -> ssl.SSLContext:
    """How a server speaks TLS."""
    key, certificate = tls_files
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context


@pytest.fixture(scope="session")
def tls_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The server's key and certificate."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def server() -> Iterator[LineServer]:
    with LineServer() as server:
        yield server


@pytest.fixture
def unix_server(tmp_path: Path) -> Iterator[LineServer]:
    with LineServer(tmp_path / "lines.sock") as server:
        yield server


@pytest.fixture
def tls_server(tls_files: tuple[Path, Path]) -> Iterator[LineServer]:
    with LineServer(tls=tls_context(tls_files)) as server:
        yield server


@pytest.fixture(params=["tcp", "tls", "unix"])
def url(request: pytest.FixtureRequest) -> str:
    """The address of a server of each kind, with all it needs."""
    names = {"tcp": "server", "tls": "tls_server", "unix": "unix_server"}
    server: LineServer = request.getfixturevalue(names[request.param])
    if request.param == "tls":
        return f"{server.url}?ssl_ca={request.getfixturevalue('tls_files')[1]}"
    return server.url


@pytest.fixture
def line_server(url: str, request: pytest.FixtureRequest) -> LineServer:
    """The server that `url` leads to."""
    names = {"tcp": "server", "tls": "tls_server", "unix": "unix_server"}
    server: LineServer = request.getfixturevalue(names[url.partition(":")[0]])
    return server
