"""Any callable that returns a connection of any kind."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Generic, NoReturn, TypeVar

from cenote.drivers import _unknown
from cenote.errors import ConfigError

C = TypeVar("C")


class CallableConnector(_unknown.Discovering, Generic[C]):
    """Opens connections by calling a function, for a `Pool`. To limit a dial is the function's own matter."""

    _awaited = False

    def __init__(self, fn: Callable[[], C]) -> None:
        """Look at the function; opens nothing.

        Raises:
            ConfigError: it is a coroutine function.
        """
        super().__init__()
        if inspect.iscoroutinefunction(fn):
            raise ConfigError(f"target: {_name(fn)} is a coroutine function; use cenote.AsyncPool")
        self._fn = fn

    def __repr__(self) -> str:
        return f"{type(self).__name__}({_name(self._fn)})"

    def connect(self, timeout: float) -> C:  # noqa: ARG002 - a function of the user's takes no arguments
        """Open one connection.

        Raises:
            ConfigError: the function returned a coroutine, or nothing.
        """
        connection = self._fn()
        if _is_unawaited(connection):
            raise ConfigError(f"target: {_name(self._fn)} returned a coroutine; use cenote.AsyncPool")
        return _something(connection, self._fn)

    def dialect(self) -> NoReturn:
        """Refuse: what the function will return is not known when the handle is opened.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(
            f"target: nobody knows before the first call what {_name(self._fn)} returns, so cenote cannot "
            "query through it; give cenote.open a URL or, for any PEP 249 driver, cenote.dbapi(module, ...)"
        )

    def close(self, connection: C) -> None:
        """Close it."""
        _unknown.close(connection)


class AsyncCallableConnector(_unknown.Discovering, Generic[C]):
    """Opens connections by awaiting what a function returns, for an `AsyncPool`."""

    _awaited = True

    def __init__(self, fn: Callable[[], Awaitable[C]]) -> None:
        """Take a coroutine function, or any that returns an awaitable; opens nothing."""
        super().__init__()
        self._fn = fn

    def __repr__(self) -> str:
        return f"{type(self).__name__}({_name(self._fn)})"

    async def connect(self, timeout: float) -> C:
        """Open one connection.

        Raises:
            ConfigError: what the function returned cannot be awaited, or it was nothing.
        """
        opening: Any = self._fn()  # whatever the annotation promises
        if not inspect.isawaitable(opening):
            await _unknown.async_close(opening)
            raise ConfigError(
                f"target: {_name(self._fn)} returned a {type(opening).__qualname__}, which cannot be "
                "awaited; make it a coroutine function, or use cenote.Pool"
            )
        async with asyncio.timeout(timeout):
            connection: C = await opening
            return _something(connection, self._fn)

    def dialect(self) -> NoReturn:
        """Refuse: what the function will return is not known when the handle is opened.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(
            f"target: nobody knows before the first call what {_name(self._fn)} returns, so cenote cannot "
            "query through it; give cenote.open_async a URL, or a connector that has a dialect()"
        )

    async def close(self, connection: C) -> None:
        """Close it."""
        await _unknown.async_close(connection)


def _is_unawaited(value: object) -> bool:
    if not inspect.iscoroutine(value):
        return False
    value.close()
    return True


def _something(connection: C, fn: object) -> C:
    if connection is None:
        raise ConfigError(f"target: {_name(fn)} returned None; return the connection it opened")
    return connection


def _name(fn: object) -> str:
    # Not its repr: a functools.partial would show its arguments, and among them a password.
    return f"{getattr(fn, '__qualname__', type(fn).__qualname__)}()"
