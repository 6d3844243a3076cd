"""What small TCP pools are known to get wrong: lost places, lost wake-ups, unchecked returns."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from cenote import AsyncPool, ConnectError, Pool
from cenote.drivers.tcp import AsyncTCPConnector, TCPConnector
from cenote.testing import SAFETY, FakeClock
from tests.tcp.server import LineServer, ask, ask_async, see


def test_the_count_is_restored_when_connections_close(server: LineServer) -> None:
    with Pool(server.url, max_open=2, timeout=SAFETY) as pool:
        for _ in range(20):
            with pool.connection() as connection:
                ask(connection, "bye")
                see(connection)
        assert server.accepted == 20
        with pool.connection() as one, pool.connection() as two:
            assert ask(one, "1") + ask(two, "2") == "12"
        assert server.peak <= 2


class Refusing:
    """Dials that fail the first times."""

    def __init__(self, server: LineServer, times: int) -> None:
        self.server = server
        self.left = times
        self.lock = threading.Lock()

    def check(self) -> None:
        with self.lock:
            self.left -= 1
            if self.left >= 0:
                raise ConnectionRefusedError("not yet")


def test_a_failed_dial_loses_no_place(server: LineServer) -> None:
    refusing = Refusing(server, 12)
    real = TCPConnector(server.host, server.port)

    class Connector(TCPConnector):
        def connect(self, timeout: float) -> Any:
            refusing.check()
            return real.connect(timeout)

    with Pool(Connector(server.host, server.port), max_open=3, timeout=SAFETY) as pool:
        with pytest.raises(ConnectError, match="not yet"):
            pool.ping()
        refusing.left = 0
        with ExitStack() as stack:
            held = [stack.enter_context(pool.connection()) for _ in range(3)]
            assert [ask(one, "hello") for one in held] == ["hello"] * 3


async def test_a_failed_dial_loses_no_place_in_asyncio(server: LineServer) -> None:
    refusing = Refusing(server, 12)

    class Connector(AsyncTCPConnector):
        async def connect(self, timeout: float) -> Any:
            refusing.check()
            return await super().connect(timeout)

    async with AsyncPool(Connector(server.host, server.port), max_open=3, timeout=SAFETY) as pool:
        with pytest.raises(ConnectError, match="not yet"):
            await pool.ping()
        refusing.left = 0
        async with pool.connection(), pool.connection(), pool.connection() as third:
            assert await ask_async(third, "hello") == "hello"


def test_a_waiter_who_is_woken_always_has_a_connection(server: LineServer) -> None:
    """Every third use breaks its connection: what wakes a waiter is often a place and no connection."""

    def use(number: int) -> str:
        with pool.connection() as connection:
            answer = ask(connection, f"{'bye' if number % 3 == 0 else 'hello'} {number}")
            if number % 3 == 0:
                see(connection)
            return answer.split()[1]

    with Pool(server.url, max_open=2, timeout=SAFETY) as pool, ThreadPoolExecutor(16) as threads:
        assert list(threads.map(use, range(300))) == [str(number) for number in range(300)]
        assert server.peak <= 2


async def test_a_task_that_is_woken_always_has_a_connection(server: LineServer) -> None:
    async def use(number: int) -> str:
        async with pool.connection() as connection:
            answer = await ask_async(connection, f"{'bye' if number % 3 == 0 else 'hello'} {number}")
            return answer.split()[1]

    async with AsyncPool(server.url, max_open=2, timeout=SAFETY) as pool:
        found = await asyncio.gather(*map(use, range(300)))
        assert found == [str(number) for number in range(300)]
        assert server.peak <= 2


def test_what_is_given_back_is_looked_at(server: LineServer) -> None:
    with Pool(server.url, max_open=1, timeout=SAFETY) as pool:
        with pool.connection() as connection:
            connection.close()
        with pool.connection() as connection:
            assert ask(connection, "hello") == "hello"
        assert pool.stats().discarded == 1


async def test_a_stream_that_is_given_back_closed_is_not_kept(server: LineServer) -> None:
    async with AsyncPool(server.url, max_open=1, timeout=SAFETY) as pool:
        async with pool.connection() as (_, writer):
            writer.close()
        async with pool.connection() as connection:
            assert await ask_async(connection, "hello") == "hello"
        assert pool.stats().discarded == 1


def test_close_closes_all_of_them(server: LineServer) -> None:
    pool = Pool(server.url, max_open=5)
    with ExitStack() as stack:
        for _ in range(5):
            ask(stack.enter_context(pool.connection()), "hello")
    assert pool.stats().idle == 5
    pool.close()
    server.wait_for(0)


def test_a_connection_past_its_time_is_opened_again_and_one_within_it_is_used_again(
    server: LineServer,
) -> None:

    clock = FakeClock()
    with Pool(server.url, max_open=1, max_idle_time="10s", ping_after=None, clock=clock) as pool:
        with pool.connection() as first:
            ask(first, "hello")
        clock.advance(9.9)
        with pool.connection() as again:
            assert again is first
        clock.advance(10)
        with pool.connection() as another:
            assert another is not first
            assert ask(another, "hello") == "hello"
        assert pool.stats().max_idle_time_closed == 1
