"""Upkeep by itself, in real time: nobody turns it, and it does what is due."""

from __future__ import annotations

import asyncio
import threading
from queue import Empty, SimpleQueue
from typing import Any

import pytest

from cenote import AsyncPool, ConfigError, Pool, _crew, _upkeep
from cenote.testing import AsyncScriptedConnector, EventLog, ScriptedConnector
from tests.patience import SAFETY


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"max_idle_time": "20ms"}, "max_idle_time"),
        ({"max_lifetime": "20ms"}, "max_lifetime"),
        ({"keepalive": "20ms"}, "keepalive"),
    ],
)
def test_the_upkeep_thread_does_what_is_due(options: Any, reason: str) -> None:
    log = EventLog()
    connector = ScriptedConnector("ping")
    connector.pinging.fail(ConnectionResetError("gone"), None)
    with Pool(connector, listener=log, **options) as pool:
        with pool.connection():
            pass
        assert log.wait("closing")[0].reason == reason


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"max_idle_time": "20ms"}, "max_idle_time"),
        ({"max_lifetime": "20ms"}, "max_lifetime"),
        ({"keepalive": "20ms"}, "keepalive"),
    ],
)
async def test_the_loop_s_timer_does_what_is_due(options: Any, reason: str) -> None:
    log = EventLog()
    connector = AsyncScriptedConnector("ping")
    connector.pinging.fail(ConnectionResetError("gone"), None)
    async with AsyncPool(connector, listener=log, **options) as pool:
        async with pool.connection():
            pass
        (event,) = await log.arrival("closing")
        assert event.reason == reason


def test_a_failed_dial_is_repeated_without_anybody_s_help() -> None:
    connector = ScriptedConnector()
    connector.connecting.fail(ConnectionRefusedError(), 2)
    with Pool(connector) as pool, pool.connection() as connection:
        assert connection.number == 1
        assert connector.connecting.count == 3


async def test_a_failed_dial_is_repeated_in_asyncio_too() -> None:
    connector = AsyncScriptedConnector()
    connector.connecting.fail(ConnectionRefusedError(), 2)
    async with AsyncPool(connector) as pool, pool.connection() as connection:
        assert connection.number == 1
        assert connector.connecting.count == 3


def test_one_thread_looks_after_all_pools() -> None:
    pools = [Pool(ScriptedConnector()) for _ in range(3)]
    for pool in pools:
        with pool.connection():
            pass
    upkeep = [thread for thread in threading.enumerate() if thread.name == "cenote-upkeep"]
    assert len(upkeep) == 1
    assert upkeep[0].daemon
    for pool in pools:
        pool.close()


def test_a_pool_whose_clock_fails_takes_no_other_s_upkeep_with_it() -> None:
    broken = False

    def clock() -> float:
        if broken:
            raise ZeroDivisionError
        return 0.0

    bad, log = Pool(ScriptedConnector(), clock=clock), EventLog()
    with bad.connection():
        pass
    broken = True
    with Pool(ScriptedConnector(), listener=log, max_idle_time="20ms") as good:
        with good.connection():
            pass
        assert log.wait("closing")[0].reason == "max_idle_time"
    broken = False
    bad.close()


async def test_an_async_pool_leaves_no_task_when_it_is_idle() -> None:
    pool = AsyncPool(AsyncScriptedConnector())
    async with pool.connection():
        pass
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await pool.close()


def test_a_crew_that_cannot_grow_works_in_the_caller_s_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    crew = _crew.Crew()
    ran: list[int] = []

    def no_thread(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    crew.submit(lambda: ran.append(threading.get_ident()))
    assert ran == [threading.get_ident()]


def test_idle_workers_of_the_crew_end_and_new_ones_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_crew, "IDLE_SECONDS", 0.01)
    crew = _crew.Crew()
    seen: list[threading.Thread] = []
    for _ in range(2):
        done = threading.Event()

        def job(done: threading.Event = done) -> None:
            seen.append(threading.current_thread())
            done.set()

        crew.submit(job)
        assert done.wait(SAFETY)
        seen[-1].join(SAFETY)
        assert not seen[-1].is_alive()
    assert seen[0] is not seen[1]


def test_a_job_that_comes_as_its_worker_is_about_to_end_is_done() -> None:
    crew, done = _crew.Crew(), threading.Event()

    class Late(SimpleQueue[_crew.Job]):
        asked = 0

        def get(self, block: bool = True, timeout: float | None = None) -> _crew.Job:
            self.asked += 1
            if self.asked == 2:
                crew.submit(done.set)  # counts on this worker, whose time is up
            if self.asked in {2, 4}:
                raise Empty
            return super().get(block)

    crew._jobs = Late()
    crew.submit(lambda: None)
    assert done.wait(SAFETY)


def test_upkeep_says_when_to_come_again() -> None:
    now = 1000.0
    pool = Pool(ScriptedConnector(), clock=lambda: now, max_idle_time=60, max_lifetime=None)
    assert _upkeep.turn(pool) == float("inf")
    with pool.connection():
        pass
    assert _upkeep.turn(pool) == 60
    now += 59
    assert _upkeep.turn(pool) == 1
    pool.close()


def test_keepalive_auto_needs_a_connector_that_can_ask() -> None:
    with pytest.raises(ConfigError, match=r"keepalive: .* cannot ask .* got 'auto'; write a duration"):
        Pool(ScriptedConnector(), keepalive="auto")
    pool = Pool(ScriptedConnector())
    with pytest.raises(ConfigError, match="keepalive"):
        pool.resize(keepalive="auto")
    assert pool.options.keepalive is None


def test_the_server_is_asked_once_and_again_after_a_death() -> None:
    class Telling(ScriptedConnector):
        asked = 0

        def idle_timeout(self, _: object) -> float:
            self.asked += 1
            return 60.0

    connector = Telling()
    with Pool(connector, keepalive="auto") as pool:
        with pool.connection(), pool.connection():
            assert connector.asked == 1
        pool._core.generation += 1
        with pool.connection(), pool.connection(), pool.connection():
            assert connector.asked == 2


def test_a_connection_that_cannot_be_asked_is_cut_off_and_the_dial_repeated() -> None:
    cut: list[object] = []

    class Mute(ScriptedConnector):
        asked = 0

        def idle_timeout(self, _: object) -> float:
            self.asked += 1
            if self.asked == 1:
                raise ConnectionResetError
            return 60.0

        def terminate(self, connection: object) -> None:
            cut.append(connection)

    with Pool(Mute(), keepalive="auto") as pool, pool.connection() as connection:
        assert len(cut) == 1
        assert connection not in cut
        assert pool.stats().connect_errors == 1
