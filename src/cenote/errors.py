"""Every error cenote raises.

::

    Error
    ├── ConfigError(ValueError)       an option, URL or duration that makes no sense
    ├── PoolClosed                    the pool is closed, or was closed while waiting
    ├── PoolTimeout(TimeoutError)     the deadline passed; .phase says in which step
    ├── PoolFull                      refused at once: on_full="reject" or max_waiting
    ├── ConnectError                  a connection could not be opened; __cause__ is the driver's error
    ├── SelfDeadlock                  one thread or task waits for connections that only it holds
    ├── NoRows                        query_row found nothing
    ├── TxDone                        the transaction is over
    ├── RowsClosed                    the rows were read to the end, or closed
    └── StmtClosed                    the statement was closed

Messages are made for the person who reads the log at night: they name the pool, the
phase, the counts, the oldest holders and the last connect error, and never a password.
"""

from __future__ import annotations

from typing import Literal

Phase = Literal["wait", "connect", "check", "statement"]


class Error(Exception):
    """Base of all errors of this package."""


class ConfigError(Error, ValueError):
    """An option, a URL or a duration is wrong. Raised before anything is opened."""


class PoolClosed(Error):
    """The pool is closed, or was closed while the caller waited."""


class PoolTimeout(Error, TimeoutError):
    """The caller's deadline passed before it had a connection, or before its statement was done.

    Attributes:
        phase: ``"wait"`` (all connections were in other hands), ``"connect"`` (a new one was being
            opened), ``"check"`` (an idle one did not answer its ping in time) or ``"statement"``
            (of the database handle: the server was told to stop it).
    """

    def __init__(self, message: str, phase: Phase) -> None:
        """Keep the phase beside the message."""
        super().__init__(message)
        self.phase: Phase = phase

    def __reduce__(self) -> tuple[type[PoolTimeout], tuple[str, Phase]]:
        """Pickle with the phase, so that the error crosses process boundaries whole."""
        return type(self), (str(self), self.phase)


class PoolFull(Error):
    """Refused at once: nothing is free and the pool was told not to queue this caller."""


class ConnectError(Error):
    """A connection could not be opened. ``__cause__`` is the driver's own error."""


class SelfDeadlock(Error):
    """One thread or task would wait for connections that only it holds, hence for ever."""


class NoRows(Error):
    """`query_row` found no row."""


class TxDone(Error):
    """The transaction is over: committed, rolled back, or past its deadline."""


class RowsClosed(Error):
    """These rows were read to the end, or closed. A result can be read once."""


class StmtClosed(Error):
    """The statement was closed."""
