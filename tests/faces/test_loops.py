"""One AsyncPool and many event loops: after each other, beside each other, and closed at the worst moment."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Coroutine, Hashable, Iterator
from typing import Any

import pytest
import uvloop

from cenote import AsyncPool, PoolTimeout
from cenote.testing import AsyncScriptedConnector, FakeConnection
from tests.faces.peers import Answering, AsyncSocketConnector, Peer
from tests.loops import LoopThread
from tests.patience import SAFETY

RUNNERS: list[Any] = [asyncio.run, uvloop.run]
NAMES = ["asyncio", "uvloop"]
Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(params=RUNNERS, ids=NAMES)
def run(request: pytest.FixtureRequest) -> Run:
    runner: Run = request.param
    return runner


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.close()


async def use(pool: AsyncPool[Any]) -> Any:
    async with pool.connection() as connection:
        return connection


def test_a_pool_made_at_import_serves_successive_loops(run: Run) -> None:
    connector = AsyncScriptedConnector("terminate")
    pool = AsyncPool(connector, max_open=1)
    for number in range(1, 4):
        assert run(use(pool)).number == number
        assert run(use(pool)).number != number
        connector.connections.pop()
        assert pool.stats().open_connections == 1
    assert all("terminate" in connection.log for connection in connector.connections[:-1])
    run(pool.close())


def test_sockets_work_under_either_loop(run: Run, peer: Peer) -> None:
    async def main() -> None:
        async with AsyncPool(AsyncSocketConnector(peer), ping_after=0, timeout=None) as pool:
            first = await use(pool)
            Answering(peer.ends[0])
            assert await use(pool) is first
            await pool.ping()
            peer.ends[0].close()
            assert await use(pool) is not first

    run(main())


def test_a_loop_closed_with_a_lease_out_gives_its_place_back(run: Run) -> None:
    pool = AsyncPool(AsyncScriptedConnector("terminate"), max_open=1)
    leases: list[Any] = []

    async def leave() -> None:
        leases.append(await pool.acquire())

    run(leave())
    assert run(use(pool)).number == 2
    leases.clear()
    gc.collect()
    assert pool.stats().in_use == 0
    assert pool.stats().open_connections == 1
    run(pool.close())


def test_a_loop_closed_during_a_dial_gives_its_place_back(run: Run) -> None:
    connector = AsyncScriptedConnector()
    pool = AsyncPool(connector, max_open=1)
    connector.connecting.hold()

    async def leave() -> None:
        waiting = asyncio.create_task(use(pool))
        await asyncio.sleep(0)
        assert pool.stats().connecting == 1
        del waiting

    run(leave())
    connector.connecting.release()
    assert run(use(pool)).number == 1
    assert pool.stats().connecting == 0
    assert pool.stats().open_connections == 1
    run(pool.close())


def test_a_loop_that_ends_during_dials_leaves_no_task_behind(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    connector = AsyncScriptedConnector()
    pool = AsyncPool(connector, max_open=3, min_idle=2)
    connector.connecting.hold()

    async def leave() -> None:
        waiting = [asyncio.create_task(use(pool)) for _ in range(3)]
        await asyncio.sleep(0)
        assert pool.stats().connecting == 3
        del waiting

    run(leave())
    gc.collect()
    assert "was destroyed but it is pending" not in caplog.text
    connector.connecting.release()
    run(use(pool))
    run(pool.close())


def test_a_dial_that_is_cancelled_from_within_is_tried_again_after_a_pause() -> None:
    connector = AsyncScriptedConnector()
    pool = AsyncPool(connector, max_open=1, timeout="30ms")

    async def main() -> None:
        connector.connecting.fail(asyncio.CancelledError(), None)  # a driver that lets its own cancel out
        with pytest.raises(PoolTimeout):
            await pool.acquire()
        assert connector.connecting.count < 10
        await pool.close()

    asyncio.run(main())


def test_a_loop_closed_during_a_goodbye_gives_its_place_back(run: Run) -> None:
    connector = AsyncScriptedConnector()
    pool = AsyncPool(connector, max_open=1)

    async def leave() -> None:
        lease = await pool.acquire()
        connector.closing.hold()
        lease.discard()
        await asyncio.sleep(0)
        assert pool.stats().closing == 1

    run(leave())
    connector.closing.release()
    assert run(use(pool)).number == 2
    assert pool.stats().closing == 0
    run(pool.close())


def test_a_job_begun_in_the_last_turn_of_a_loop_leaves_nothing_behind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    connector = AsyncScriptedConnector("terminate")
    pool: AsyncPool[FakeConnection] = AsyncPool(connector, max_open=1, timeout=SAFETY)
    ending = asyncio.new_event_loop()  # uvloop's runs what is ready before it stops
    ending.run_until_complete(use(pool))
    with asyncio.Runner() as runner:

        async def ask() -> asyncio.Task[Any]:
            waiting = asyncio.create_task(use(pool))
            await asyncio.sleep(0)
            assert pool.stats().closing == 1  # the other loop is to close its idle connection, to make room
            return waiting

        async def get(waiting: asyncio.Task[Any]) -> Any:
            await use(pool)
            return await waiting

        waiting = runner.run(ask())
        ending.call_soon(ending.stop)
        ending.run_forever()
        ending.close()
        assert runner.run(get(waiting)).number == 2
        assert "terminate" in connector.connections[0].log
        assert not pool._jobs
        runner.run(pool.close())
    gc.collect()
    assert "was destroyed but it is pending" not in caplog.text


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=NAMES)
def threads(request: pytest.FixtureRequest) -> Iterator[list[LoopThread]]:
    threads = [LoopThread(request.param) for _ in range(3)]
    yield threads
    for thread in threads:
        thread.close()


def test_loops_in_threads_share_one_limit(threads: list[LoopThread]) -> None:
    connector = AsyncScriptedConnector()
    pool = AsyncPool(connector, max_open=2)

    async def work() -> int:
        for _ in range(100):
            async with pool.connection():
                await asyncio.sleep(0)
        return 100

    futures = [thread.begin(work()) for thread in threads for _ in range(3)]
    assert [future.result(SAFETY) for future in futures] == [100] * 9
    assert connector.peak <= 2
    assert pool.stats().in_use == 0
    assert pool.stats().acquire_count == 900
    for thread in threads[1:]:
        thread.close()
    threads[0].run(pool.close())
    assert pool.stats().open_connections == 0


def test_a_connection_stays_under_the_loop_that_made_it(threads: list[LoopThread]) -> None:
    pool: AsyncPool[FakeConnection] = AsyncPool(AsyncScriptedConnector(), max_open=3)
    for _ in range(3):
        assert [thread.run(use(pool)).number for thread in threads] == [1, 2, 3]
    for thread in threads:
        thread.run(pool.close())


def test_a_place_moves_to_the_loop_that_needs_it(threads: list[LoopThread]) -> None:
    connector = AsyncScriptedConnector()
    pool: AsyncPool[FakeConnection] = AsyncPool(connector, max_open=1)
    numbers = [threads[turn % 3].run(use(pool)).number for turn in range(6)]
    assert numbers == [1, 2, 3, 4, 5, 6]
    assert connector.peak == 1
    threads[0].run(pool.close())


def test_a_lease_released_under_one_loop_wakes_a_waiter_of_another(threads: list[LoopThread]) -> None:
    pool: AsyncPool[FakeConnection] = AsyncPool(AsyncScriptedConnector(), max_open=1)
    lease = threads[0].run(pool.acquire())
    waiting = threads[1].begin(use(pool))
    threads[0].run(lease.release())
    assert waiting.result(SAFETY).number == 2
    threads[0].run(pool.close())


def test_one_who_waits_already_gets_the_place_of_a_loop_that_ends(
    threads: list[LoopThread], monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = AsyncPool(AsyncScriptedConnector(), max_open=1, timeout=None)
    lease = threads[1].run(pool.acquire())
    first_look = threading.Event()

    def claims() -> frozenset[Hashable]:
        found = AsyncPool._claims(pool)
        first_look.set()
        return found

    monkeypatch.setattr(pool, "_claims", claims)
    waiting = threads[0].begin(use(pool))
    assert first_look.wait(SAFETY)
    threads[1].close()  # and nobody is told
    assert waiting.result(SAFETY).number == 2
    lease.discard()
    threads[0].run(pool.close())


def test_a_loop_that_is_stopped_takes_nobody_s_upkeep_with_it(threads: list[LoopThread]) -> None:
    connector = AsyncScriptedConnector()
    pool: AsyncPool[FakeConnection] = AsyncPool(connector, max_open=2)
    threads[0].run(use(pool))
    threads[1].run(use(pool))  # upkeep is on this loop now
    threads[1].stop()  # and it is not closed
    lease = threads[0].run(pool.acquire())
    connector.connecting.fail(ConnectionRefusedError(), 4)
    pool.resize(max_open=3)
    waiting = threads[0].begin(use(pool))  # its dials fail; upkeep has to start the next ones
    assert waiting.result(SAFETY).number == 3
    threads[0].run(lease.release())
    threads[1].close()
    threads[0].run(pool.close())


def test_an_async_pool_outside_of_any_loop_says_what_it_needs() -> None:
    pool = AsyncPool(AsyncScriptedConnector())
    with pytest.raises(RuntimeError, match="no running event loop"):
        pool.acquire().send(None)
