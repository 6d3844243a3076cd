"""What `ConnectionPool` and `AsyncConnectionPool` have in common; the faces add whatever may wait.

It stands before redis-py's own class, whose lists and counts it replaces by those of a `cenote` pool. That
pool, the inner one, is made when it is first needed, and again after a close.
"""

from __future__ import annotations

import threading
from typing import Any, ClassVar, Generic, TypeVar, Unpack

from .. import _explain
from .._explain import Holder
from .._pool import Hold, PoolBase
from ..events import Listener
from ..options import Options, OptionsDict
from ..stats import Stats
from ._commands import REDIALED
from ._given import Given, in_short
from ._lending import connections, take_back

P = TypeVar("P", bound=PoolBase[Any])


class LendingPool(Generic[P]):
    """The options, numbers and lists of a drop-in pool, on an inner pool of the face's kind."""

    connection_kwargs: dict[str, Any]

    _of_the_pool: ClassVar[tuple[str, ...]] = ("maint_notifications_config",)
    """Arguments of redis-py's pool that are not its connections'."""

    _inner: P | None = None
    _is_ready = False
    """Whether redis-py's constructor is through, which sets what here are properties."""

    def _understand(
        self,
        given: dict[str, Any],
        connection_class: type[Any],
        max_connections: int | None,
        listener: Listener | None,
    ) -> dict[str, Any]:
        """Keep what is ours; return what is for redis-py's constructor. `Given` says what is raised."""
        of_the_pool = {name: given.pop(name) for name in self._of_the_pool if name in given}
        told = Given(given, connection_class=connection_class, max_connections=max_connections)
        self._options, self._listener = told.ours, listener
        # redis-py's default dispatcher is wanted for new credentials alone, so only a given one is told.
        self._tells = "event_dispatcher" in told.theirs
        self._fresh = threading.Lock()  # also in asyncio: loops may run in several threads
        return of_the_pool | told.theirs

    # ── what cenote's pools have ────────────────────────────────────────────────────────────────

    @property
    def name(self) -> str:
        """The name in logs, metrics and errors: the option, or made from the address without its password."""
        return self._opened().name

    @property
    def options(self) -> Options:
        """The options in force."""
        return self._opened().options

    @property
    def max_connections(self) -> int | None:
        """redis-py's word for `max_open`; setting it resizes the pool."""
        return self._opened().options.max_open

    @max_connections.setter
    def max_connections(self, most: int | None) -> None:
        if self._is_ready:
            self.resize(max_open=most)

    def stats(self) -> Stats:
        """Take a consistent snapshot of gauges, counters and histograms, see `cenote.Pool.stats`."""
        return self._opened().stats()

    def holders(self) -> list[Holder]:
        """List who holds a connection and where it was acquired, the longest hold first."""
        return self._opened().holders()

    def resize(self, **options: Unpack[OptionsDict]) -> None:
        """Change any of our options of the running pool, see `cenote.Pool.resize`."""
        self._opened().resize(**options)

    def __repr__(self) -> str:
        """Name and counts."""
        kind = type(self)
        counts = _explain.counts(self._opened()._core)
        return f"<{kind.__module__}.{kind.__name__} {self.name!r} {counts}>"

    # ── what redis-py's own pools do otherwise ──────────────────────────────────────────────────

    def __del__(self) -> None:
        """Do nothing: redis-py would take back from its metrics what was never added to them."""

    def set_retry(self, retry: Any) -> None:
        """Set how redis-py retries commands, on every connection."""
        self.connection_kwargs.update({"retry": retry})
        for connection in self._get_all_connections():
            connection.retry = retry

    def _get_free_connections(self) -> list[Any]:
        return list(connections(self._opened()._core, in_use=False))

    def _get_in_use_connections(self) -> set[Any]:
        return set(connections(self._opened()._core, in_use=True))

    def _get_all_connections(self) -> tuple[Any, ...]:
        return (*self._get_free_connections(), *self._get_in_use_connections())

    @property
    def _available_connections(self) -> list[Any]:
        return self._get_free_connections()

    @_available_connections.setter
    def _available_connections(self, value: object) -> None:
        """Ignore the list that redis-py may begin with."""

    @property
    def _in_use_connections(self) -> set[Any]:
        return self._get_in_use_connections()

    @_in_use_connections.setter
    def _in_use_connections(self, value: object) -> None:
        """Ignore the set that redis-py may begin with."""

    # ── parts ───────────────────────────────────────────────────────────────────────────────────

    def _make_inner(self) -> P:
        """Make a pool of the face's kind, whose connector keeps this one not alive."""
        raise NotImplementedError

    def _opened(self) -> P:
        """Return the pool underneath, a new one if there is none since the last close."""
        inner = self._inner
        if inner is not None:
            return inner
        with self._fresh:
            if self._inner is None:
                self._inner = self._make_inner()
            return self._inner

    def _let_go(self) -> P | None:
        """Take the pool underneath away, for whoever closes it; the next begins with its options."""
        with self._fresh:
            inner, self._inner = self._inner, None
        if inner is not None:
            self._options = in_short(inner.options)
        return inner

    @staticmethod
    def _give_back(connection: Any, hold: Hold) -> None:
        """Give back a connection about which nothing needs a thought, as `Lease.release` does."""
        connection._pool_hold = None
        hold.slot.connection = connection
        hold.put()

    @staticmethod
    def _take_back(connection: Any, state: int) -> Any:
        """Take it from its user; `state` is how he left it. Return the proof of the lease, if he had one."""
        hold = take_back(connection)
        if hold is not None and state & REDIALED and not connection._pool_lost:
            hold.slot.watch = None  # its user closed it, which says nothing about the others
        return hold
