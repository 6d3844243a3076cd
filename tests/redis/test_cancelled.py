"""A command cut short between its sending and its reply: no reply reaches a wrong caller, no slot is lost."""

from __future__ import annotations

import asyncio
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
import redis.asyncio

import cenote.redis
from tests.patience import SAFETY
from tests.redis.worlds import TASK_WORLDS, World, ask, fill, in_worlds, lent, name, talk, using
from tests.servers.redis import RedisServer

CANCELS = 10_000
SIZE = 4
CROWD = 40
BRIEF: dict[str, Any] = {"protocol": 2, "driver_info": None}  # a dial with few words


class Crowd:
    """Users who each have a word of their own repeated, and are cancelled in the middle of it."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._sent: set[asyncio.Task[None]] = set()  # whose reply is not read
        self.wrong: list[object] = []
        self.cut_short = 0
        self.served = 0

    async def user(self) -> None:
        """Send, read, and note what is not one's own word."""
        task = asyncio.current_task()
        assert task is not None
        async with lent(self._pool) as connection:
            word = name("word").encode()
            await connection.send_command("ECHO", word)
            self._sent.add(task)
            try:
                answer = await connection.read_response()
            finally:
                self._sent.discard(task)
            if answer != word:
                self.wrong.append((word, answer))
            self.served += 1

    async def round(self) -> None:
        """Let a crowd come at once, and cancel whoever has sent, but for every tenth."""
        tasks = {asyncio.create_task(self.user()) for _ in range(CROWD)}
        met = set[asyncio.Task[None]]()
        while tasks:
            await asyncio.sleep(0)
            for task in self._sent - met:
                met.add(task)
                if len(met) % 10:
                    self.cut_short += task.cancel()
            over = {task for task in tasks if task.done()}
            for task in over:
                assert task.cancelled() or task.exception() is None
            tasks -= over


@pytest.mark.timeout(120)
@in_worlds(TASK_WORLDS[:1])
async def test_ten_thousand_commands_cancelled_between_sending_and_reply(
    world: World, redis_server: RedisServer
) -> None:
    url = redis_server.url("unix")
    async with using(world, url, max_open=SIZE, timeout=SAFETY, **BRIEF) as (_, pool):
        crowd = Crowd(pool)
        while crowd.cut_short < CANCELS:
            await crowd.round()
        assert crowd.wrong == []
        assert crowd.served > CANCELS / 20
        await ask(pool, 2 * SIZE)
        stats = pool.stats()
        assert stats.discarded >= CANCELS
        assert (stats.in_use, stats.waiting) == (0, 0)
        assert len(await fill(pool, SIZE)) == SIZE  # every slot is there


@in_worlds(TASK_WORLDS)
async def test_a_connection_is_closed_when_its_command_was_cancelled_in_the_middle(
    world: World, redis_server: RedisServer
) -> None:
    async with using(world, redis_server, max_open=1) as (client, pool):
        (before,) = await fill(pool, 1)
        task = asyncio.create_task(client.blpop([name()], timeout=30))
        await world.aside(redis_server.wait_for_command, "blpop")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await fill(pool, 1) != [before]


@in_worlds(TASK_WORLDS)
async def test_a_connection_is_closed_when_its_user_was_cancelled_before_reading(
    world: World, redis_server: RedisServer
) -> None:
    async with using(world, redis_server, max_open=1) as (_, pool):
        (before,) = await fill(pool, 1)

        async def user() -> None:
            async with lent(pool) as connection:
                await connection.send_command("ECHO", "for nobody")
                await asyncio.get_running_loop().create_future()

        task = asyncio.create_task(user())
        while not pool.stats().in_use:  # noqa: ASYNC110 - redis-py sets no event for it
            await asyncio.sleep(0)
        await world.aside(redis_server.count_connections)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await fill(pool, 1) != [before]


@in_worlds(TASK_WORLDS)
async def test_cancelling_those_who_wait_costs_nothing_and_nobody(
    world: World, redis_server: RedisServer
) -> None:
    async with using(world, redis_server, max_open=1) as (client, pool):
        async with lent(pool):
            waiting = [asyncio.create_task(client.ping()) for _ in range(10)]
            while pool.stats().waiting < 10:  # noqa: ASYNC110 - nor for this
                await asyncio.sleep(0)
            for task in waiting[::2]:
                task.cancel()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert outcomes[1::2] == [True] * 5
        assert pool.stats().connect_count == 1


class Interrupted(Exception):
    """What a signal's handler raises in the midst of a command."""


def interrupt(*_: object) -> None:
    raise Interrupted


def test_a_thread_interrupted_in_the_middle_of_a_command_hands_no_reply_on(redis_server: RedisServer) -> None:
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with cenote.redis.ConnectionPool.from_url(redis_server.url(), max_open=1) as pool:
            client = redis.Redis(connection_pool=pool)
            number = client.client_id()
            key = name()
            main = threading.get_ident()

            def alarm() -> None:
                redis_server.wait_for_command("blpop")
                signal.pthread_kill(main, signal.SIGALRM)

            with ThreadPoolExecutor(1) as threads:
                alarmed = threads.submit(alarm)
                with pytest.raises(Interrupted):
                    client.blpop([key], timeout=SAFETY)
                alarmed.result()
            client.rpush(key, "for nobody")
            assert client.client_id() != number
            assert pool.stats().in_use == 0
    finally:
        signal.signal(signal.SIGALRM, before)


async def test_a_reply_that_comes_after_its_time_reaches_nobody(redis_server: RedisServer) -> None:
    async with cenote.redis.AsyncConnectionPool.from_url(redis_server.url(), max_open=1) as pool:
        connection = await pool.get_connection()
        key = name()
        await connection.send_command("BLPOP", key, 60)
        assert await connection.read_response(timeout=0.01) is None
        await pool.release(connection)
        await redis.asyncio.Redis(connection_pool=pool).rpush(key, "for nobody")
        async with lent(pool) as other:
            assert await talk(other, "ECHO", "mine") == b"mine"
        assert pool.stats().discarded == 1
