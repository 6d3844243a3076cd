"""Errors that are redis-py's and ours at once, so that either's ``except`` catches them.

::

    PoolTimeout      cenote.PoolTimeout     redis.ConnectionError, redis.TimeoutError
    PoolFull         cenote.PoolFull        redis.exceptions.MaxConnectionsError
    PoolClosed       cenote.PoolClosed      redis.ConnectionError
    SelfDeadlock     cenote.SelfDeadlock    redis.exceptions.MaxConnectionsError
    ConnectError     cenote.ConnectError    redis.ConnectionError, and the kind of redis-py's own error
"""

from __future__ import annotations

from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MaxConnectionsError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from .. import errors

__all__ = ["ConnectError", "PoolClosed", "PoolFull", "PoolTimeout", "SelfDeadlock"]


class PoolTimeout(errors.PoolTimeout, RedisConnectionError, RedisTimeoutError):
    """The deadline passed before a connection was there; `phase` says where."""


class PoolFull(errors.PoolFull, MaxConnectionsError):
    """Refused at once: nothing is free and the pool was told not to queue this caller."""


class PoolClosed(errors.PoolClosed, RedisConnectionError):
    """The pool was closed while the caller waited."""


class SelfDeadlock(errors.SelfDeadlock, MaxConnectionsError):
    """One thread or task waits for connections that only it holds."""


class ConnectError(errors.ConnectError, RedisConnectionError):
    """A connection could not be opened. What is raised is of the kind of ``__cause__``, too."""

    _cause: type[RedisError] = RedisConnectionError

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by the kind of the cause, since a class made for it has no name to be found by."""
        return _connect_error, (self._cause, str(self))


def _kind_of(cause: type[RedisError]) -> type[ConnectError]:
    """Make the class of errors that are also of this kind: AuthenticationError, TimeoutError, ..."""
    if issubclass(ConnectError, cause):
        return ConnectError
    return _kinds.setdefault(
        cause, type("ConnectError", (ConnectError, cause), {"__module__": __name__, "_cause": cause})
    )


_kinds: dict[type[RedisError], type[ConnectError]] = {}


def _connect_error(cause: type[RedisError], text: str) -> ConnectError:
    return _kind_of(cause)(text)


def translated(error: errors.Error) -> errors.Error:
    """Turn an error of the pool into one that is also redis-py's. What says that a setting is wrong stays."""
    made: errors.Error
    if isinstance(error, errors.PoolTimeout):
        made = PoolTimeout(str(error), error.phase)
    elif isinstance(error, errors.ConnectError):
        cause = error.__cause__
        made = _connect_error(
            type(cause) if isinstance(cause, RedisError) else RedisConnectionError, str(error)
        )
    else:
        kind = _OTHERS.get(type(error))
        if kind is None:
            return error
        made = kind(str(error))
    made.__cause__ = error.__cause__
    return made


_OTHERS: dict[type[errors.Error], type[errors.Error]] = {
    errors.PoolFull: PoolFull,
    errors.PoolClosed: PoolClosed,
    errors.SelfDeadlock: SelfDeadlock,
}
