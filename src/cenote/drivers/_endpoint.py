"""Where a plain connection leads and how its socket is set up: the address, TCP's options, TLS."""

from __future__ import annotations

import math
import os
import socket
import ssl
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, TypedDict
from urllib.parse import unquote

from cenote.drivers._mysql import TLS_PARAMETERS, _tls_context
from cenote.drivers._urls import (
    Reader,
    check_hosts,
    duration,
    nearest,
    refuse_parameters,
    scheme_of,
    switch,
    take_parameters,
    text_itself,
)
from cenote.durations import Duration, seconds
from cenote.errors import ConfigError
from cenote.options import redact

AddressInfo = tuple[int, int, int, str, Any]
"""What ``getaddrinfo`` returns."""

KEEPALIVE = 30.0
"""Less than firewalls and address translators wait before they forget a silent connection."""

PROBES = 3
"""So many unanswered keepalive probes end a connection."""

MOST_SECONDS = 32_767  # of TCP_KEEPIDLE on Linux
MOST_MILLISECONDS = 2**31 - 1
PATH_BYTES = 107 if sys.platform == "linux" else 103


def _duration_or_none(name: str, text: str) -> float | None:
    return None if text.lower() == "none" else duration(name, text)


TCP_PARAMETERS: dict[str, Reader] = {
    "nodelay": switch,
    "tcp_keepalive": _duration_or_none,
    "user_timeout": _duration_or_none,
}
TLS_ONLY: dict[str, Reader] = {
    **{name: read for name, read in TLS_PARAMETERS.items() if name != "ssl_disabled"},
    "server_hostname": text_itself,
}
URL_PARAMETERS: dict[str, dict[str, Reader]] = {
    "tcp": TCP_PARAMETERS,
    "tls": {**TCP_PARAMETERS, **TLS_ONLY},
    "unix": {},
}


class EndpointOptions(TypedDict, total=False):
    """What may be said of a peer beside its host and port. See `TCPConnector`."""

    path: str | os.PathLike[str] | None
    tls: bool
    nodelay: bool
    tcp_keepalive: Duration | None
    user_timeout: Duration | None
    ssl_ca: str | None
    ssl_cert: str | None
    ssl_key: str | None
    ssl_verify_cert: bool | None
    ssl_verify_identity: bool | None
    server_hostname: str | None


class Endpoint:
    """One peer's address, and everything that is set on a socket to it. Opens nothing."""

    def __init__(
        self,
        host: str | None,
        port: int | None,
        *,
        path: str | os.PathLike[str] | None = None,
        tls: bool = False,
        nodelay: bool = True,
        tcp_keepalive: Duration | None = KEEPALIVE,
        user_timeout: Duration | None = None,
        **tls_options: Any,
    ) -> None:
        """Check everything; see `TCPConnector` for the arguments."""
        if (path is None) == (host is None):
            raise ConfigError(f"host: give either host and port or path, got host={host!r} and path={path!r}")
        for name in tls_options:
            if name not in TLS_ONLY:
                raise TypeError(
                    f"unknown argument {name!r}; {nearest(name, EndpointOptions.__annotations__)}"
                )
        given = [name for name, value in tls_options.items() if value is not None]
        if given and not tls:
            raise ConfigError(f"{given[0]}: has no effect without TLS; write tls=True, or a URL with tls://")
        self.host, self.port = host, port
        self.path = None if path is None else _checked_path(path)
        if host is not None:
            _check_port(port)
        self.nodelay = nodelay
        self.keepalive = _whole_seconds("tcp_keepalive", tcp_keepalive)
        self.user_timeout = _milliseconds("user_timeout", user_timeout)
        if tls and host is None:
            raise ConfigError("tls: is spoken over TCP only; give host and port, or leave it out")
        self.server_hostname = tls_options.pop("server_hostname", None) or host
        self.context = _context(tls_options) if tls else None

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix://{self.path}"
        host = f"[{self.host}]" if ":" in str(self.host) else self.host
        return f"{'tcp' if self.context is None else 'tls'}://{host}:{self.port}"

    def prepare(self, address: AddressInfo) -> socket.socket:
        """Make a socket for one of the peer's addresses, with all options set, not connected yet."""
        family, kind, protocol, _, _ = address
        sock = socket.socket(family, kind, protocol)
        try:
            if self.path is None:
                self._set_options(sock)
        except BaseException:
            sock.close()
            raise
        return sock

    def _set_options(self, sock: socket.socket) -> None:
        self.set_nodelay(sock)
        if self.keepalive is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            step = max(self.keepalive // PROBES, 1)
            # macOS has its own name for the first.
            for names, value in (
                (("TCP_KEEPIDLE", "TCP_KEEPALIVE"), self.keepalive),
                (("TCP_KEEPINTVL",), step),
                (("TCP_KEEPCNT",), PROBES),
            ):
                number = next((getattr(socket, name) for name in names if hasattr(socket, name)), None)
                if number is not None:
                    sock.setsockopt(socket.IPPROTO_TCP, number, value)
        if self.user_timeout is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, self.user_timeout)

    def set_nodelay(self, sock: Any) -> None:
        """Set or clear TCP_NODELAY, for a loop that sets it by itself too."""
        if self.path is None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, int(self.nodelay))

    def local(self) -> list[AddressInfo]:
        """Return the only address of a Unix socket."""
        return [(socket.AF_UNIX, socket.SOCK_STREAM, 0, "", self.path)]


def patience(addresses: Sequence[AddressInfo], deadline: float) -> Iterator[tuple[AddressInfo, float]]:
    """Go through a peer's addresses; what is left of the time is shared, so that a silent one leaves some.

    Raises:
        TimeoutError: there is nothing left.
    """
    for number, address in enumerate(addresses):
        left = deadline - monotonic()
        if left <= 0:
            raise TimeoutError("no time is left to try the peer's other addresses")
        yield address, left / (len(addresses) - number)


def read_url(url: str) -> dict[str, Any]:
    """Turn ``tcp://host:port``, ``tls://host:port`` or ``unix:///path`` into keyword arguments.

    Raises:
        ConfigError: a part of it makes no sense, or a parameter is not known.
    """
    scheme = scheme_of(url)
    known = URL_PARAMETERS[scheme]
    keywords, rest = take_parameters(url, known)
    name = rest.partition("?")[2].partition("=")[0]
    if name in TLS_ONLY and scheme == "tcp":
        raise ConfigError(f"{name}: has no effect in {redact(url)!r}; write tls:// instead of tcp://")
    refuse_parameters(rest, known or ["none"])
    body = rest.partition("://")[2].partition("?")[0]
    if scheme == "unix":
        if not body.startswith("/") or len(body) == 1 or "#" in body:
            raise ConfigError(
                f"cannot read {redact(url)!r}: write unix:///path/of/the.sock with an absolute path, "
                "and special characters such as ? and # as %XX"
            )
        return {"path": unquote(body)}
    check_hosts(url)
    host, _, port = body.rstrip("/").rpartition(":")
    if not host or not port or any(sign in body.rstrip("/") for sign in "@/#,"):
        raise ConfigError(
            f"cannot read {redact(url)!r}: write {scheme}://host:port with one host and nothing else"
        )
    return {
        **keywords,
        "host": unquote(host.removeprefix("[").removesuffix("]")),
        "port": int(port),
        "tls": scheme == "tls",
    }


def _checked_path(path: str | os.PathLike[str]) -> str:
    if not hasattr(socket, "AF_UNIX"):
        raise ConfigError(f"path: this system has no Unix sockets, got {path!r}; give host and port")
    text = os.fspath(path)
    if not text or len(os.fsencode(text)) > PATH_BYTES:
        raise ConfigError(
            f"path: must have from 1 to {PATH_BYTES} bytes, got {len(os.fsencode(text))} "
            f"({Path(text).name!r}); move the socket to a shorter path"
        )
    return text


def _check_port(port: object) -> None:
    if not isinstance(port, int) or isinstance(port, bool) or not 1 <= port <= 65535:  # noqa: PLR2004 - of 16 bits
        raise ConfigError(f"port: must be a number from 1 to 65535, got {port!r}; write port=6000")


def _whole_seconds(name: str, value: Duration | None) -> int | None:
    """Round up to what the kernel counts in."""
    if value is None:
        return None
    whole = math.ceil(seconds(value, option=name))
    if not 1 <= whole <= MOST_SECONDS:
        raise ConfigError(f"{name}: must be from 1s to {MOST_SECONDS}s, got {value!r}; write {name}='30s'")
    return whole


def _milliseconds(name: str, value: Duration | None) -> int | None:
    if value is None:
        return None
    if not hasattr(socket, "TCP_USER_TIMEOUT"):
        raise ConfigError(f"{name}: this system cannot limit it, got {value!r}; leave it out")
    whole = math.ceil(seconds(value, option=name) * 1000)
    if not 1 <= whole <= MOST_MILLISECONDS:
        raise ConfigError(f"{name}: must be from 1ms to 596h, got {value!r}; write {name}='20s'")
    return whole


def _context(options: dict[str, Any]) -> ssl.SSLContext:
    """Check certificate and name unless told otherwise: here nobody but `tls` itself asked for TLS."""
    verify = options.get("ssl_verify_cert") is not False
    identify = options.get("ssl_verify_identity")
    context = _tls_context(
        **{
            **options,
            "ssl_verify_cert": verify,
            "ssl_verify_identity": verify if identify is None else identify,
        }
    )
    assert context is not None  # something was asked for
    return context
