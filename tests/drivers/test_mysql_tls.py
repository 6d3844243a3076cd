"""TLS through every MySQL driver, asked for in the same words."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cenote.drivers import async_connector_for, connector_for
from tests.drivers.cases import TIMEOUT, ask, done
from tests.servers.mariadb import MariaDBServer, Template


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Make a key, and with it the certificate of 127.0.0.1."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        [*command.split(), *names, "-keyout", key, "-out", certificate], check=True, capture_output=True
    )
    return key, certificate


@pytest.fixture(scope="module")
def tls_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The server's key and certificate."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def strangers_certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The certificate of somebody else."""
    return make_certificate(tmp_path_factory.mktemp("stranger"))[1]


@pytest.fixture(scope="module")
def tls_server(mariadb_template: Template, tls_files: tuple[Path, Path]) -> Iterator[MariaDBServer]:
    """A server that speaks TLS."""
    key, certificate = tls_files
    server = MariaDBServer(template=mariadb_template)
    files = {
        "ssl-key": str(server._home.write("key.pem", key.read_text())),
        "ssl-cert": str(server._home.write("certificate.pem", certificate.read_text())),
    }
    server._settings.update(files)
    with server:
        yield server


SCHEMES = ["mysql", "mysql+mysqldb", "mysql+mysqlconnector", "mysql+aiomysql", "mysql+asyncmy"]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("query", "encrypted"), [("ssl_ca={}", True), ("ssl_disabled=on", False)])
async def test_tls_is_spoken_as_asked_for_and_idle_connections_are_alive(
    tls_server: MariaDBServer, tls_files: tuple[Path, Path], scheme: str, query: str, *, encrypted: bool
) -> None:
    url = f"{tls_server.url(scheme)}?{query.format(tls_files[1])}"
    awaited = scheme in ("mysql+aiomysql", "mysql+asyncmy")
    connector: Any = async_connector_for(url) if awaited else connector_for(url)
    connection = await done(connector.connect(TIMEOUT))
    rows = await ask(connection, "show session status like 'Ssl_cipher'")
    assert bool(rows[0][1]) is encrypted
    assert connector.is_alive(connection)
    assert not connector.is_broken(connection)
    assert connector.fileno(connection) is not None
    await done(connector.close(connection))


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_server_whose_certificate_is_not_vouched_for_is_refused(
    tls_server: MariaDBServer, strangers_certificate: Path, scheme: str
) -> None:
    url = f"{tls_server.url(scheme)}?ssl_ca={strangers_certificate}"
    awaited = scheme in ("mysql+aiomysql", "mysql+asyncmy")
    connector: Any = async_connector_for(url) if awaited else connector_for(url)
    with pytest.raises(Exception, match=r"(?i)certificate|tls|ssl|can't connect"):
        await done(connector.connect(TIMEOUT))
