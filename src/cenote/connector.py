"""How to open and look after one kind of connection: the contract between the pool and a driver.

A connector is any object with ``connect`` and ``close``. Everything else is optional and
discovered once, when the pool is made (`Hooks`). Two worlds, one contract: for an
`AsyncPool` the hooks that talk to the server are coroutine functions, the others stay plain.

When each hook is called, and what it may do::

    hook            talks   when
    connect         yes     a new connection is needed; outside the lock, up to max_connecting at once
    close           yes     a connection leaves the pool; must not raise for a dead one
    fileno          no      once, after connect: the socket that may be asked without a round trip
    is_alive        no      on acquire, after the socket was asked: the driver's own idea of alive
    ping            yes     on acquire after ping_after idle or in doubt, and by keepalive; raises when dead
    is_clean        no      on release: neither of the next two holds, where one look can tell
    is_broken       no      on release: closed, or in a protocol state that nobody can trust
    in_transaction  no      on release: a transaction was left open; None if the driver cannot tell
    rollback        yes     on release, when in_transaction said so (or the driver cannot say)
    reset           yes     on release, with reset="session": forget all session state
    transaction     yes     pool.transaction(): a context manager that commits or rolls back
    socket_tells    -       (a flag) nobody but the peer closes an idle connection: on acquire the
                            socket alone is asked, and is_alive only if there is something to see
    idle_timeout    yes     with keepalive="auto", on the first connection and on the first after a death:
                            seconds after which the server hangs up on an idle one, None if never
    on_lost         no      once, after connect, with a function to call when the peer of an idle connection
                            is seen to have gone; from any thread, but not from within this hook
    errors_tell     -       (a flag) is_broken cannot see half a conversation: a use that was cut short, or
                            ended in an OSError or EOFError, closes the connection
    terminate       no      cut off without a word: after close(timeout=), a dead loop, a hung peer
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

C = TypeVar("C")
C_co = TypeVar("C_co", covariant=True)


@runtime_checkable
class Connector(Protocol[C]):
    """Opens and closes connections for a threaded `Pool`. See the module for the optional hooks."""

    def connect(self, timeout: float) -> C:
        """Open one connection within `timeout` seconds, or raise the driver's error."""
        ...

    def close(self, connection: C) -> None:
        """Close it. Called once; quiet when the peer is already gone."""
        ...


@runtime_checkable
class AsyncConnector(Protocol[C]):
    """Opens and closes connections for an `AsyncPool`: the same contract, awaited."""

    async def connect(self, timeout: float) -> C:
        """Open one connection within `timeout` seconds, or raise the driver's error."""
        ...

    async def close(self, connection: C) -> None:
        """Close it. Called once; quiet when the peer is already gone."""
        ...


OPTIONAL = (
    "fileno",
    "is_alive",
    "ping",
    "is_clean",
    "is_broken",
    "in_transaction",
    "rollback",
    "reset",
    "transaction",
    "terminate",
    "idle_timeout",
    "on_lost",
)

FLAGS = ("socket_tells", "errors_tell")


@dataclass(frozen=True, slots=True)
class Hooks(Generic[C]):
    """The optional hooks of one connector; None where it has none."""

    fileno: Callable[[C], int | None] | None = None
    is_alive: Callable[[C], bool] | None = None
    ping: Callable[[C], Any] | None = None
    is_clean: Callable[[C], bool] | None = None
    is_broken: Callable[[C], bool] | None = None
    in_transaction: Callable[[C], bool | None] | None = None
    rollback: Callable[[C], Any] | None = None
    reset: Callable[[C], Any] | None = None
    transaction: Callable[[C], Any] | None = None
    terminate: Callable[[C], None] | None = None
    idle_timeout: Callable[[C], Any] | None = None
    on_lost: Callable[[C, Callable[[], object]], object] | None = None
    socket_tells: bool = False
    errors_tell: bool = False

    @classmethod
    def of(cls, connector: object) -> Hooks[Any]:
        """Look each optional hook up once."""
        found: dict[str, Any] = {name: getattr(connector, name, None) for name in OPTIONAL}
        found.update({name: bool(getattr(connector, name, False)) for name in FLAGS})
        return cls(**found)
