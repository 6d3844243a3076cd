"""A connector may say that the peer of an idle connection has gone, or that errors tell more than it can."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from cenote import AsyncPool, Pool
from cenote.testing import AsyncScriptedConnector, EventLog, FakeConnection, ScriptedConnector
from tests.patience import goes


class Watching(ScriptedConnector):
    """Remembers whom to call when a connection is lost."""

    def __init__(self) -> None:
        super().__init__()
        self.callbacks: dict[FakeConnection, Callable[[], object]] = {}

    def on_lost(self, connection: FakeConnection, callback: Callable[[], object]) -> None:
        self.callbacks[connection] = callback


class AsyncWatching(AsyncScriptedConnector):
    """The same for tasks."""

    def __init__(self) -> None:
        super().__init__()
        self.callbacks: dict[FakeConnection, Callable[[], object]] = {}

    def on_lost(self, connection: FakeConnection, callback: Callable[[], object]) -> None:
        self.callbacks[connection] = callback


def test_what_is_lost_while_idle_leaves_the_pool_without_an_acquire() -> None:
    connector, log = Watching(), EventLog()
    with Pool(connector, listener=log) as pool:
        with pool.connection() as connection:
            pass
        connector.callbacks[connection]()
        assert pool.stats().idle == 0
        assert ("closing", "lost") in [(event.kind, event.reason) for event in log.events]
        connector.callbacks[connection]()  # once more says nothing new
        assert pool.stats().dead_on_keepalive == 1


async def test_what_is_lost_while_idle_leaves_the_pool_in_asyncio_too() -> None:
    connector = AsyncWatching()
    async with AsyncPool(connector) as pool:
        async with pool.connection() as connection:
            connector.callbacks[connection]()  # in use: its holder will see
            assert pool.stats().in_use == 1
        assert pool.stats().idle == 1
        connector.callbacks[connection]()
        assert pool.stats().idle == 0


def test_whoever_watches_a_connection_does_not_keep_its_pool() -> None:
    connector = Watching()
    pool = Pool(connector)
    with pool.connection() as connection:
        pass
    gone = weakref.ref(pool)
    del pool
    assert goes(gone)
    connector.callbacks[connection]()


ERRORS = [
    (ConnectionResetError(), True),
    (TimeoutError(), True),
    (asyncio.IncompleteReadError(b"", 1), True),
    (KeyboardInterrupt(), True),
    (ValueError(), False),
]


@pytest.mark.parametrize(("error", "closes"), ERRORS, ids=repr)
@pytest.mark.parametrize("has_is_broken", [False, True])
def test_where_errors_tell_a_use_that_was_cut_short_closes_the_connection(
    error: BaseException, closes: bool, has_is_broken: bool
) -> None:
    connector: Any = ScriptedConnector("is_broken") if has_is_broken else ScriptedConnector()
    connector.errors_tell = True
    with Pool(connector) as pool:
        with pytest.raises(type(error)), pool.connection():
            raise error
        assert pool.stats().discarded == closes


@pytest.mark.parametrize("error", [error for error, _ in ERRORS], ids=repr)
def test_where_errors_do_not_tell_is_broken_alone_decides(error: BaseException) -> None:
    with Pool(ScriptedConnector("is_broken")) as pool:
        with pytest.raises(type(error)), pool.connection():
            raise error
        assert pool.stats().idle == 1
