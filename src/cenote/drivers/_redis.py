"""What redis-py's own URLs and arguments say, checked before anything is opened."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, unquote, urlparse

import redis.asyncio.connection
import redis.connection
from redis.exceptions import RedisError

from cenote.drivers._urls import check_hosts, nearest, scheme_of, with_scheme
from cenote.errors import ConfigError
from cenote.options import redact

SCHEMES = {"redis": "redis", "rediss": "rediss", "redis+unix": "unix", "unix": "unix"}

# What text can say; objects, such as a retry or a credential_provider, can only be given in Python.
_IN_ANY_URL = (
    "db username password client_name protocol decode_responses encoding encoding_errors socket_timeout "
    "socket_connect_timeout health_check_interval retry_on_timeout"
)
_OF_TCP = "socket_keepalive"
_OF_TLS = (
    "ssl_ca_certs ssl_ca_path ssl_ca_data ssl_certfile ssl_keyfile ssl_password ssl_cert_reqs "
    "ssl_check_hostname ssl_min_version ssl_ciphers"
)
URL_PARAMETERS = {
    "redis": f"{_IN_ANY_URL} {_OF_TCP}".split(),
    "rediss": f"{_IN_ANY_URL} {_OF_TCP} {_OF_TLS}".split(),
    "unix": _IN_ANY_URL.split(),
}
_OF_THE_POOL = ("max_connections",)
_YES_OR_NO = {"true": True, "yes": True, "1": True, "on": True, "false": False, "no": False, "0": False}
_YES_OR_NO["off"] = False


def read_url(url: str, *, asynchronous: bool, of_a_pool: bool = False) -> dict[str, Any]:
    """Read ``redis://user:password@host:6379/0``, ``rediss://`` or ``redis+unix:///path?db=0``.

    Args:
        url: without options of ours in its query.
        asynchronous: whether redis-py's classes for asyncio are wanted.
        of_a_pool: whether what redis-py's own pools take in a URL may be in this one.

    Raises:
        ConfigError: it cannot be read. No password is shown.
    """
    scheme = SCHEMES[scheme_of(url)]
    plain = with_scheme(url, scheme)
    if scheme != "unix":
        check_hosts(plain)
        _check_database(plain, url)
    _check_parameters(plain, url, (*URL_PARAMETERS[scheme], *(_OF_THE_POOL if of_a_pool else ())))
    parse: Callable[[str], Any] = (
        redis.asyncio.connection.parse_url if asynchronous else redis.connection.parse_url
    )
    try:
        found: dict[str, Any] = dict(parse(plain))
    except ValueError as error:
        # Its other texts may quote any part of the URL.
        wrong = re.match(r"Invalid value for '(\w+)'", str(error))
    else:
        if scheme == "unix" and not found.get("path"):
            raise ConfigError(f"{redact(url)!r} names no socket; write redis+unix:///run/redis.sock?db=0")
        _read_switch(found, "decode_responses", url)
        return found
    what = f"the value of {wrong[1]}" if wrong else "it"
    raise ConfigError(f"redis-py cannot read {what} in {redact(url)!r}; write redis://user@host:6379/0")


def _check_database(plain: str, url: str) -> None:
    """Refuse what redis-py would silently take for database 0."""
    path = unquote(urlparse(plain).path).strip("/")
    if path and not (path.isascii() and path.isdigit()):
        raise ConfigError(
            f"db: the path of {redact(url)!r} must be the number of a database; write redis://host:6379/0"
        )


def _check_parameters(plain: str, url: str, known: tuple[str, ...]) -> None:
    query = urlparse(plain).query
    for name, values in parse_qs(query, keep_blank_values=True).items():
        if name not in known:
            raise ConfigError(f"unknown parameter {name!r} in {redact(url)!r}; {nearest(name, known)}")
        if len(values) > 1:
            raise ConfigError(f"{name}: given twice in {redact(url)!r}; write it once")


def _read_switch(found: dict[str, Any], name: str, url: str) -> None:
    """Read what redis-py leaves as text, which would always mean yes."""
    if name in found:
        value = _YES_OR_NO.get(str(found[name]).lower())
        if value is None:
            raise ConfigError(f"{name}: must be yes or no in {redact(url)!r}; write {name}=yes")
        found[name] = value


def check_arguments(connection_class: type[Any], given: Mapping[str, Any], also: tuple[str, ...]) -> None:
    """Make a connection that opens nothing, to hear now what redis-py would say at the first dial.

    Args:
        connection_class: one of redis-py's, or a user's own.
        given: its arguments.
        also: names that are understood beside them, to be suggested for a misspelt one.

    Raises:
        TypeError: an argument is unknown.
        ConfigError: redis-py refuses a value.
    """
    known = _arguments_of(connection_class)
    for name in given:
        if known is not None and name not in known:
            raise TypeError(f"unknown option {name!r}; {nearest(name, (*also, *sorted(known)))}")
    try:
        connection_class(**given)
    except (RedisError, ValueError) as error:
        raise ConfigError(f"redis-py refuses the connection's arguments: {error}") from error


def _arguments_of(connection_class: type[Any]) -> set[str] | None:
    """Find the arguments of a class and those that it hands on; None if a user's class may take any."""
    names: set[str] = set()
    for one in connection_class.__mro__:
        if "__init__" not in vars(one) or one is object:
            continue
        if not one.__module__.startswith("redis."):
            return None
        parameters = inspect.signature(vars(one)["__init__"]).parameters.values()
        names |= {parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD}
    return names - {"self"}
