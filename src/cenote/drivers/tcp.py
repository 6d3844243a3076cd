"""Plain connections over TCP, TLS and Unix paths, for protocols that nobody has a driver for.

Here they are opened; how they are looked after is in `_plain`.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from inspect import iscoroutinefunction
from time import monotonic
from typing import Self, Unpack

from cenote.drivers._endpoint import Endpoint, EndpointOptions, patience, read_url
from cenote.drivers._plain import Sockets, Stream, Streams, TellingReader
from cenote.errors import ConfigError

__all__ = ["AsyncTCPConnector", "Stream", "TCPConnector"]


class TCPConnector(Sockets):
    """Opens connected sockets for a `Pool`, over TCP, TLS or a Unix path. They block without a time-out.

    Args:
        host: a name or an IP address. Of several addresses each is tried, within the time of one dial.
        port: its port.
        connect: a function of your own that returns a connected socket, instead of an address.
        healthy: asked where a ping is: on acquire after ``ping_after`` idle or in doubt, and by keepalive.
            It gets the connection, may talk to the peer, and says whether it is alive; what it raises
            means no. It is cut off after `connect_timeout`.
        path: of a Unix socket, instead of host and port.
        tls: speak TLS. The certificate and the name in it are checked unless said otherwise.
        nodelay: send small pieces at once (TCP_NODELAY).
        tcp_keepalive: the kernel asks a peer that has been silent for so long; three times, a third of
            this apart. None leaves it off. Whole seconds, at least one.
        user_timeout: how long what was sent may stay unacknowledged (TCP_USER_TIMEOUT). None is the system's.
        ssl_ca: a file of certificates to trust, instead of the system's.
        ssl_cert: our own certificate.
        ssl_key: its key, if it is not in the same file.
        ssl_verify_cert: whether to check who signed the certificate; on.
        ssl_verify_identity: whether to check whose name is in it; on.
        server_hostname: the name to ask for and to check; `host` if None.

    Raises:
        ConfigError: an argument makes no sense. Nothing was opened.
        TypeError: there is no such argument.
    """

    def __init__(
        self,
        host: str | None = None,
        port: int | None = None,
        *,
        connect: Callable[[], socket.socket] | None = None,
        healthy: Callable[[socket.socket], object] | None = None,
        **options: Unpack[EndpointOptions],
    ) -> None:
        """Check everything; opens nothing."""
        super().__init__(healthy, blocking=connect is None)
        if iscoroutinefunction(connect):
            raise ConfigError("connect: is a coroutine function; use cenote.AsyncPool, or a plain function")
        self._dial = connect
        self._endpoint = _endpoint(connect, host, port, options)

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Make one from ``tcp://host:port``, ``tls://host:port`` or ``unix:///path``."""
        return cls(**read_url(url))

    def __repr__(self) -> str:
        return _shown(self, self._endpoint)

    def connect(self, timeout: float) -> socket.socket:
        """Open one connection."""
        endpoint = self._endpoint
        if endpoint is None:
            assert self._dial is not None
            return self._dial()
        deadline = monotonic() + timeout
        sock = _connected(endpoint, deadline)
        try:
            if endpoint.context is not None:
                sock.settimeout(max(deadline - monotonic(), 0.001))
                sock = endpoint.context.wrap_socket(sock, server_hostname=endpoint.server_hostname)
            sock.settimeout(None)
        except BaseException:
            sock.close()
            raise
        return sock


def _connected(endpoint: Endpoint, deadline: float) -> socket.socket:
    found = (
        endpoint.local()
        if endpoint.path is not None
        else socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    )
    failure: OSError | None = None
    for address, left in patience(found, deadline):
        sock = endpoint.prepare(address)
        try:
            sock.settimeout(left)
            sock.connect(address[4])
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise failure or OSError(f"{endpoint} has no address")


def _endpoint(
    connect: object, host: str | None, port: int | None, options: EndpointOptions
) -> Endpoint | None:
    if connect is None:
        return Endpoint(host, port, **options)
    given = [name for name, value in {"host": host, "port": port, **options}.items() if value is not None]
    if given:
        raise ConfigError(f"{given[0]}: has no effect with connect, which opens the connection; leave it out")
    return None


def _shown(connector: object, endpoint: Endpoint | None) -> str:
    return f"{type(connector).__name__}({'connect=...' if endpoint is None else repr(str(endpoint))})"


class AsyncTCPConnector(Streams):
    """Opens `Stream` for an `AsyncPool`, over TCP, TLS or a Unix path. See `TCPConnector`.

    `connect` is a coroutine function that returns a reader and a writer, and `healthy` a plain function or a
    coroutine function of the `Stream`. A connection that is idle when its peer closes it leaves the pool at
    once, unless `connect` opened it.

    Raises:
        ConfigError: an argument makes no sense. Nothing was opened.
        TypeError: there is no such argument.
    """

    def __init__(
        self,
        host: str | None = None,
        port: int | None = None,
        *,
        connect: Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]] | None = None,
        healthy: Callable[[Stream], object] | None = None,
        **options: Unpack[EndpointOptions],
    ) -> None:
        """Check everything; opens nothing."""
        super().__init__(healthy)
        self._dial = connect
        self._endpoint = _endpoint(connect, host, port, options)

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Make one from ``tcp://host:port``, ``tls://host:port`` or ``unix:///path``."""
        return cls(**read_url(url))

    def __repr__(self) -> str:
        return _shown(self, self._endpoint)

    async def connect(self, timeout: float) -> Stream:
        """Open one connection."""
        endpoint = self._endpoint
        if endpoint is None:
            assert self._dial is not None
            return Stream(*await self._dial())
        async with asyncio.timeout(timeout):
            sock = await _async_connected(endpoint, monotonic() + timeout)
            try:
                return await _streamed(endpoint, sock)
            except BaseException:
                sock.close()
                raise


async def _async_connected(endpoint: Endpoint, deadline: float) -> socket.socket:
    loop = asyncio.get_running_loop()
    found = (
        endpoint.local()
        if endpoint.path is not None
        else await loop.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    )
    failure: OSError | None = None
    for address, left in patience(found, deadline):
        sock = endpoint.prepare(address)
        try:
            sock.setblocking(False)  # noqa: FBT003 - its only parameter
            async with asyncio.timeout(left):
                await loop.sock_connect(sock, address[4])
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise failure or OSError(f"{endpoint} has no address")


async def _streamed(endpoint: Endpoint, sock: socket.socket) -> Stream:
    """Do what `asyncio.open_connection` does, with a reader that tells."""
    loop = asyncio.get_running_loop()
    reader = TellingReader(loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    if endpoint.path is not None:
        transport: asyncio.Transport
        transport, _ = await loop.create_unix_connection(lambda: protocol, sock=sock)
    elif endpoint.context is None:
        transport, _ = await loop.create_connection(lambda: protocol, sock=sock)
    else:
        transport, _ = await loop.create_connection(
            lambda: protocol, sock=sock, ssl=endpoint.context, server_hostname=endpoint.server_hostname
        )
    endpoint.set_nodelay(transport.get_extra_info("socket"))  # every loop switches it on
    return Stream(reader, asyncio.StreamWriter(transport, protocol, reader, loop))
