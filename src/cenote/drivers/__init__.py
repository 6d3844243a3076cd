"""From a URL to the connector that opens it.

Each driver's file is imported only when a URL asks for it, so that the pool itself needs no driver.
Everything that can be wrong with a URL is found here, before anything is opened.
"""

from __future__ import annotations

import difflib
from importlib import import_module
from typing import Any, NamedTuple, cast

from cenote.connector import AsyncConnector, Connector
from cenote.drivers import _registry
from cenote.drivers._urls import scheme_of
from cenote.errors import ConfigError


class _Driver(NamedTuple):
    """Where the connector for a scheme is, and the extra of this package that brings its driver."""

    module: str
    connector: str
    extra: str


_PSYCOPG = _Driver("psycopg", "PsycopgConnector", "postgresql")
_ASYNC_PSYCOPG = _Driver("psycopg", "AsyncPsycopgConnector", "postgresql")
_PYMYSQL = _Driver("pymysql", "PyMySQLConnector", "mysql")
_SOCKET = _Driver("tcp", "TCPConnector", "")  # the standard library is all it needs
_STREAM = _Driver("tcp", "AsyncTCPConnector", "")
_REDIS = _Driver("redis", "RedisConnector", "redis")
_ASYNC_REDIS = _Driver("redis", "AsyncRedisConnector", "redis")
_ASYNCMY = _Driver("asyncmy", "AsyncmyConnector", "asyncmy")

_SYNC = {
    "sqlite": _Driver("sqlite", "SQLiteConnector", "sqlite"),
    "postgresql": _PSYCOPG,
    "postgresql+psycopg": _PSYCOPG,
    "postgresql+psycopg2": _Driver("psycopg2", "Psycopg2Connector", "psycopg2"),
    "mysql": _PYMYSQL,
    "mysql+pymysql": _PYMYSQL,
    "mysql+mysqldb": _Driver("mysqldb", "MySQLdbConnector", "mysqlclient"),
    "mysql+mysqlconnector": _Driver("mysqlconnector", "MySQLConnectorConnector", "mysqlconnector"),
    "redis": _REDIS,
    "rediss": _REDIS,
    "redis+unix": _REDIS,
    "tcp": _SOCKET,
    "tls": _SOCKET,
    "unix": _SOCKET,
}
_ASYNC = {
    "sqlite": _Driver("aiosqlite", "AioSQLiteConnector", "sqlite"),
    "postgresql": _ASYNC_PSYCOPG,
    "postgresql+psycopg": _ASYNC_PSYCOPG,
    "postgresql+asyncpg": _Driver("asyncpg", "AsyncpgConnector", "asyncpg"),
    "mysql": _ASYNCMY,
    "mysql+asyncmy": _ASYNCMY,
    "mysql+aiomysql": _Driver("aiomysql", "AiomysqlConnector", "aiomysql"),
    "redis": _ASYNC_REDIS,
    "rediss": _ASYNC_REDIS,
    "redis+unix": _ASYNC_REDIS,
    "tcp": _STREAM,
    "tls": _STREAM,
    "unix": _STREAM,
}
_WORLDS = _registry.WORLDS
_registry.reserve(_SYNC, _ASYNC)


def connector_for(url: str) -> Connector[Any]:
    """Return the connector that opens connections to `url` for a `Pool`. Opens nothing.

    Raises:
        ConfigError: the scheme is unknown or for asyncio only, the driver is not installed, or the
            URL cannot be read. No password is shown.
    """
    return cast("Connector[Any]", _make(url, _SYNC, _ASYNC, "AsyncPool", "Pool"))


def async_connector_for(url: str) -> AsyncConnector[Any]:
    """Return the connector that opens connections to `url` for an `AsyncPool`. Opens nothing.

    Raises:
        ConfigError: the scheme is unknown or for threads only, the driver is not installed, or the
            URL cannot be read. No password is shown.
    """
    return cast("AsyncConnector[Any]", _make(url, _ASYNC, _SYNC, "Pool", "AsyncPool"))


def _make(
    url: str, here: dict[str, _Driver], there: dict[str, _Driver], other_pool: str, pool: str
) -> object:
    given = scheme_of(url)
    scheme = _registry.canonical(given)
    driver = here.get(scheme)
    if driver is None:
        world, other = _WORLDS if pool == "Pool" else reversed(_WORLDS)
        registered = _registry.find(scheme, world)
        if registered is not None:
            return registered.from_url(url)
        if scheme in there or _registry.find(scheme, other) is not None:
            base = scheme.partition("+")[0]
            instead = f", or a URL that begins with {base}://" if base in here else ""
            raise ConfigError(
                f"{given}:// is a driver for cenote.{other_pool}, not for cenote.{pool}; "
                f"use cenote.{other_pool}{instead}"
            )
        raise _unsupported(given, [*here, *_registry.names(world)])
    try:
        module = import_module(f"cenote.drivers.{driver.module}")
    except ImportError as error:
        raise ConfigError(
            f"the driver for {given}:// cannot be used ({error}); "
            f"install it with: pip install 'cenote[{driver.extra}]'"
        ) from error
    return getattr(module, driver.connector).from_url(url)


def _unsupported(scheme: str, known: list[str]) -> ConfigError:
    names = ", ".join(f"{name}://" for name in known)
    near = difflib.get_close_matches(scheme, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}://? " if near else ""
    return ConfigError(f"unknown scheme {scheme}://; {hint}supported are {names}")
