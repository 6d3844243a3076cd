"""What the MySQL drivers share: the address, TLS, unsafe charsets, and how a statement is stopped.

Every answer of the server ends with its status, so a driver knows for free whether a transaction is open.
All of these drivers paste parameters into the statement on the client's side. That is safe only in charsets
none of whose characters ends in a byte that may be taken for a quote or a backslash; the others are refused.
"""

from __future__ import annotations

import os
import ssl
import weakref
from collections.abc import Iterable
from contextlib import suppress
from time import monotonic
from typing import Any, ClassVar, NamedTuple, Self
from urllib.parse import unquote

from cenote import _sockets
from cenote.drivers._urls import (
    Reader,
    check_hosts,
    duration,
    nearest,
    refuse_parameters,
    switch,
    take_parameters,
    text_itself,
)
from cenote.errors import ConfigError
from cenote.options import redact

IN_TRANSACTION = 1  # bits of the server's status
AUTOCOMMIT = 2
RESET_CONNECTION = 0x1F  # a command of the protocol: MySQL 5.7.3, MariaDB 10.2.4
KILL_SECONDS = 2.0  # less than a goodbye may take, so that a server out of reach leaves time for the rest

# As in go-sql-driver/mysql, which refuses to interpolate parameters in these; gb18030 is their heir.
UNSAFE_CHARSETS = ("big5", "cp932", "gb18030", "gb2312", "gbk", "sjis")

TLS_PARAMETERS: dict[str, Reader] = {
    "ssl_ca": text_itself,
    "ssl_cert": text_itself,
    "ssl_key": text_itself,
    "ssl_verify_cert": switch,
    "ssl_verify_identity": switch,
    "ssl_disabled": switch,
}
URL_PARAMETERS: dict[str, Reader] = {
    "charset": text_itself,
    "init_command": text_itself,
    "unix_socket": text_itself,
    **TLS_PARAMETERS,
}
TIMEOUTS: dict[str, Reader] = {"read_timeout": duration, "write_timeout": duration}


class Session(NamedTuple):
    """What has to be known of a connection to stop what it does, from another connection."""

    thread_id: int
    since: float


class OwnSocket:
    """A socket inside a C library, which may close it at any time, after which its number is another's."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._inode = os.fstat(number).st_ino

    def fileno(self) -> int | None:
        """Return its number while it still leads to the same socket."""
        try:
            return self._number if os.fstat(self._number).st_ino == self._inode else None
        except OSError:
            return None


def hung_up(fileno: int) -> bool:
    """Whether the server has closed its side, as far as can be seen: nothing is left to be stopped there."""
    return _sockets.examine(fileno) is _sockets.Sight.DEAD


class MySQL:
    """Reads the address, and remembers of each connection what is needed to stop it."""

    url_parameters: ClassVar[dict[str, Reader]] = URL_PARAMETERS

    def __init__(self, **kwargs: Any) -> None:
        """Check everything; opens nothing.

        Args:
            kwargs: what the driver's own `connect` accepts. The charset is ``utf8mb4`` and autocommit is on
                unless said otherwise. TLS is asked for alike in all drivers: `ssl_ca`, `ssl_cert`, `ssl_key`
                (files), `ssl_verify_cert`, `ssl_verify_identity` (both on with `ssl_ca`), `ssl_disabled`.

        Raises:
            ConfigError: the charset is unsafe, or a file for TLS cannot be read.
        """
        tls = {name: kwargs.pop(name) for name in TLS_PARAMETERS if name in kwargs}
        self._kwargs: dict[str, Any] = {"charset": "utf8mb4", "autocommit": True, **kwargs}
        _refuse_unsafe(str(self._kwargs["charset"]), str(kwargs.get("collation") or ""))
        context = _tls_context(**tls)
        self._kwargs.update(self._tls_keywords(tls, context))
        self._sessions: weakref.WeakKeyDictionary[Any, Session] = weakref.WeakKeyDictionary()

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Make one from ``mysql://user:password@host:3306/database``, with `url_parameters` in its query."""
        return cls(**read_url(url, cls.url_parameters))

    def __repr__(self) -> str:
        given = self._kwargs.get
        user = f"{given('user')}@" if given("user") else ""
        where = given("unix_socket") or f"{given('host') or 'localhost'}:{given('port') or 3306}"
        return f"{type(self).__name__}('{user}{where}/{given('database') or given('db') or ''}')"

    def _tls_keywords(self, tls: dict[str, Any], context: ssl.SSLContext | None) -> dict[str, Any]:
        """Say in the driver's words how to use TLS."""
        raise NotImplementedError

    def _remember(self, connection: object, thread_id: int) -> None:
        self._sessions[connection] = Session(thread_id, monotonic())


class BlockingMySQL(MySQL):
    """What the drivers for threads share."""

    socket_tells = True  # they close their socket only when somebody uses the connection

    def cancel(self, connection: Any) -> None:
        """Stop the statement that runs on this connection, by ``KILL QUERY`` from another. Blocks up to 2 s.

        Best effort: one that has just ended takes no harm, but the next one on the connection may.
        """
        session = self._sessions.get(connection)
        if session is not None:
            kill(self, session, query_only=True)

    @staticmethod
    def fileno(connection: Any) -> int | None:
        """Return the socket's number, None when it is closed."""
        raise NotImplementedError

    @staticmethod
    def rollback(connection: Any) -> None:
        """Roll back what was left open."""
        connection.rollback()

    def terminate(self, connection: Any) -> None:
        """Shut the socket down. Closing it is not safe: another thread may be using it."""
        fileno = self.fileno(connection)
        if fileno is not None:
            _sockets.cut(fileno)

    def idle_timeout(self, connection: Any) -> float:
        """Ask after how many seconds the server hangs up on an idle session."""
        return float(self._ask(connection, IDLE_TIMEOUT)[0][0])

    def _open(self, timeout: float, **limits: float) -> Any:
        raise NotImplementedError

    def _ask(self, connection: Any, statement: str) -> list[Any]:
        cursor = connection.cursor()
        try:
            cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []
        finally:
            cursor.close()


def kill(connector: BlockingMySQL, session: Session, *, query_only: bool) -> None:
    """Have the server end a statement, or a connection with it, from a short-lived connection. Best effort.

    Returns when a killed connection is gone, so that the server no longer counts it; until then it counts
    one more than the pool has. Takes at most about `KILL_SECONDS`. Nothing is killed on a server younger
    than the session: the number is another's there.
    """
    limit = KILL_SECONDS
    deadline = monotonic() + limit
    with suppress(Exception):  # whatever a driver raises here, there is nobody to tell and nothing more to do
        extra = connector._open(limit, read_timeout=limit, write_timeout=limit)
        try:
            uptime = connector._ask(extra, UPTIME)
            if not outlived(uptime, session):
                return
            connector._ask(extra, kill_statement(session, query_only=query_only))
            while not query_only and monotonic() < deadline and connector._ask(extra, still_there(session)):
                pass
        finally:
            extra.close()


IDLE_TIMEOUT = "SELECT @@wait_timeout"
UPTIME = "SHOW GLOBAL STATUS LIKE 'Uptime'"


def outlived(uptime: list[Any], session: Session) -> bool:
    """Whether the server already ran when the session began; it counts whole seconds."""
    return int(uptime[0][1]) + 1 >= monotonic() - session.since


def kill_statement(session: Session, *, query_only: bool) -> str:
    return f"KILL {'QUERY' if query_only else 'CONNECTION'} {session.thread_id:d}"


def still_there(session: Session) -> str:
    seen = "SELECT SLEEP(0.01) FROM information_schema.processlist"
    return f"{seen} WHERE id = {session.thread_id:d}"


def read_url(url: str, known: dict[str, Reader]) -> dict[str, Any]:
    """Turn ``mysql://user:password@host:port/database?parameters`` into keyword arguments.

    Raises:
        ConfigError: a part of it makes no sense, or a parameter is not known. No password is shown.
    """
    check_hosts(url)
    start = url.index("://") + 3
    authority, _, tail = url[start:].partition("/")
    if "@" in tail or "#" in tail or "," in authority.rpartition("@")[2]:
        raise ConfigError(
            f"cannot read {redact(url)!r}: write scheme://user:password@host:port/database with one host, "
            "and special characters such as @, / and # as %XX"
        )
    keywords, rest = take_parameters(url, known)
    refuse_parameters(rest, known)
    authority, _, database = rest[start:].partition("/")
    if "/" in database:
        raise ConfigError(f"cannot read {redact(url)!r}: a database has no '/' in its name; write it as %2F")
    userinfo, _, place = authority.rpartition("@")
    user, _, password = userinfo.partition(":")
    host, port = _place(place)
    address = {"user": user, "password": password, "host": host, "database": database}
    keywords.update({name: unquote(text) for name, text in address.items() if text})
    if port:
        keywords["port"] = int(port)
    return keywords


def _place(place: str) -> tuple[str, str]:
    """Tell the host from the port; an IPv6 address stands in brackets."""
    if place.startswith("["):
        host, _, port = place[1:].partition("]")
        return host, port.removeprefix(":")
    host, _, port = place.partition(":")
    return host, port


def in_utf8(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Encode the password as the server does; drivers in Python take it for Latin-1, or fail and show it."""
    password = kwargs.get("password")
    return {**kwargs, "password": password.encode()} if isinstance(password, str) else kwargs


def refuse_unknown(kwargs: Iterable[str], known: Iterable[str], driver: str) -> None:
    """Refuse a keyword that the driver would stumble over at the first dial only.

    Raises:
        ConfigError: one is not known.
    """
    known = list(known)
    for name in kwargs:
        if name not in known:
            raise ConfigError(f"unknown parameter {name!r} for {driver}; {nearest(name, known)}")


def _refuse_unsafe(charset: str, collation: str) -> None:
    for option, value in (("charset", charset), ("collation", collation)):
        if value.lower().partition("_")[0] in UNSAFE_CHARSETS:
            raise ConfigError(
                f"{option}: {value!r} is unsafe: parameters are pasted into the statement, and a part of one "
                "of its characters may be taken for a quote; write charset='utf8mb4'"
            )


def _tls_context(
    *,
    ssl_ca: str | None = None,
    ssl_cert: str | None = None,
    ssl_key: str | None = None,
    ssl_verify_cert: bool | None = None,
    ssl_verify_identity: bool | None = None,
    ssl_disabled: bool | None = None,
) -> ssl.SSLContext | None:
    """Make what TLS is spoken with; None if it was not asked for."""
    asked = (ssl_ca, ssl_cert, ssl_key, ssl_verify_cert, ssl_verify_identity)
    if ssl_disabled or all(value is None for value in asked):
        return None
    if ssl_key is not None and ssl_cert is None:
        raise ConfigError("ssl_key: got a key without a certificate; write ssl_cert, too")
    for option, file in (("ssl_ca", ssl_ca), ("ssl_cert", ssl_cert), ("ssl_key", ssl_key)):
        if file is not None:
            _check_file(option, file)
    try:
        context = ssl.create_default_context(cafile=ssl_ca)
        if ssl_cert is not None:
            context.load_cert_chain(ssl_cert, keyfile=ssl_key)
    except ssl.SSLError as error:
        raise ConfigError(
            f"ssl_ca, ssl_cert, ssl_key: cannot be used ({error}); write files in PEM"
        ) from None
    # The certificates that MySQL makes for itself do not satisfy the strict mode of Python 3.13.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    verify, identify = _checks(ssl_ca, verify=ssl_verify_cert, identify=ssl_verify_identity)
    context.check_hostname = identify
    context.verify_mode = ssl.CERT_REQUIRED if verify else ssl.CERT_NONE
    return context


def _checks(ca: str | None, *, verify: bool | None, identify: bool | None) -> tuple[bool, bool]:
    """Whether to check who signed the certificate, and whose name is in it; with a CA both by default."""
    verify = verify if verify is not None else (ca is not None or bool(identify))
    identify = identify if identify is not None else (verify and ca is not None)
    if identify and not verify:
        raise ConfigError(
            "ssl_verify_identity: needs ssl_verify_cert; write ssl_verify_cert=on, or leave it out"
        )
    return verify, identify


def tls_checks(tls: dict[str, Any]) -> tuple[bool, bool]:
    """Say the same of parameters as they were given, for a driver that makes its own context."""
    return _checks(
        tls.get("ssl_ca"), verify=tls.get("ssl_verify_cert"), identify=tls.get("ssl_verify_identity")
    )


def _check_file(option: str, file: str) -> None:
    try:
        with open(file, "rb"):  # noqa: PTH123 - a path as the driver takes it, text or PathLike
            return
    except OSError as error:
        reason = error.strerror
    raise ConfigError(f"{option}: cannot read {file!r} ({reason}); write the path of a file in PEM")
