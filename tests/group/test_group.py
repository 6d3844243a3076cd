"""Groups over real servers of lines, in threads and under asyncio: one limit for many endpoints."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from cenote import (
    AsyncPoolGroup,
    ConfigError,
    Error,
    Options,
    PoolClosed,
    PoolFull,
    PoolGroup,
    PoolTimeout,
    SelfDeadlock,
)
from cenote._group import REMEMBERED
from tests.loops import LoopThread
from tests.patience import SAFETY
from tests.tcp.server import LineServer, ask, ask_async, until


@pytest.fixture
def servers() -> Iterator[list[LineServer]]:
    with ExitStack() as stack:
        yield [stack.enter_context(LineServer()) for _ in range(3)]


# ── the table of pools ───────────────────────────────────────────────────────────────────────────


def test_each_endpoint_has_a_pool_of_its_own(servers: list[LineServer]) -> None:
    with PoolGroup(max_total=5) as group:
        for server in servers:
            for _ in range(3):
                with group.connection(server.url) as sock:
                    assert ask(sock, "hello") == "hello"
        assert [server.accepted for server in servers] == [1, 1, 1]
        assert group.pool(servers[0].url) is group.pool(servers[0].url)
        assert len(group.pools) == 3


def test_the_same_in_asyncio(servers: list[LineServer]) -> None:
    async def main() -> None:
        async with AsyncPoolGroup(max_total=5) as group:
            for server in servers:
                for _ in range(3):
                    async with group.connection(server.url) as stream:
                        assert await ask_async(stream, "hello") == "hello"
            assert [server.accepted for server in servers] == [1, 1, 1]
            assert len(group.pools) == 3

    asyncio.run(main())


def test_options_are_those_of_each_pool_and_a_target_may_bring_its_own(servers: list[LineServer]) -> None:
    with PoolGroup(max_total=5, max_idle_time="1m") as group:
        own = group.pool(Options.from_url(servers[0].url, max_open=2))
        assert own.options.max_idle_time == 60
        assert own.options.max_open == 2
        assert group.pool(servers[1].url).options.max_idle_time == 60


@pytest.mark.parametrize("value", [0, -1, True, 2.5, "7"])
def test_a_limit_that_makes_no_sense_is_refused(value: Any) -> None:
    with pytest.raises(
        ConfigError, match=r"max_total: must be a whole number of at least 1, got .*max_total=100"
    ):
        PoolGroup(max_total=value)


def test_a_bad_option_is_refused_by_the_group_itself_and_not_by_its_first_pool() -> None:
    with pytest.raises(ConfigError, match="max_open"):
        PoolGroup(max_open=0)
    with pytest.raises(TypeError):
        PoolGroup(max_opened=3)  # type: ignore[call-arg] # that is the point
    group = AsyncPoolGroup(max_total=3)
    with pytest.raises(ConfigError, match="max_total"):
        group.resize(max_total=0)
    with pytest.raises(ConfigError, match="max_open"):
        group.resize(max_open=0)


def test_a_target_may_be_something_that_cannot_be_hashed() -> None:
    @dataclass(frozen=True)
    class Endpoint:
        settings: dict[str, str]

        def connect(self, timeout: float) -> list[int]:
            return []

        def close(self, connection: list[int]) -> None:
            pass

    with PoolGroup() as group:
        one, two = Endpoint({}), Endpoint({})
        assert group.pool(one) is group.pool(one)
        assert group.pool(one) is not group.pool(two)


def test_a_bad_target_leaves_no_pool() -> None:
    group = PoolGroup()
    with pytest.raises(ConfigError):
        group.pool("nonsense://somewhere")
    assert group.pools == []


def test_endpoints_that_nobody_uses_are_forgotten_beyond_a_thousand(servers: list[LineServer]) -> None:
    with PoolGroup(max_total=3) as group:
        kept = group.pool("tcp://127.0.0.1:9")
        lease = group.connection(servers[0].url)
        with group.connection(servers[1].url):
            pass
        for port in range(10_000, 10_000 + REMEMBERED + 50):
            group.pool(f"tcp://127.0.0.1:{port}")
        gc.collect()
        # What has a connection stays, idle or not, and so does what somebody refers to.
        assert len(group.pools) == REMEMBERED + 3
        assert group.pool("tcp://127.0.0.1:9") is kept
        assert group.stats().in_use == 1
        with group.connection(servers[1].url):
            pass
        assert servers[1].accepted == 1
        lease.release()


# ── one limit ────────────────────────────────────────────────────────────────────────────────────


def test_the_coldest_idle_connection_anywhere_makes_room(servers: list[LineServer]) -> None:
    with PoolGroup(max_total=2) as group:
        for server in servers:
            with group.connection(server.url) as sock:
                ask(sock, "hello")
        stats = group.stats()
        assert (stats.open_connections, stats.idle, stats.max_open_connections) == (2, 2, 2)
        assert [group.pool(server.url).stats().open_connections for server in servers] == [0, 1, 1]


def test_the_same_across_the_pools_of_a_loop(servers: list[LineServer]) -> None:
    async def main() -> None:
        async with AsyncPoolGroup(max_total=2) as group:
            for server in servers:
                async with group.connection(server.url) as stream:
                    await ask_async(stream, "hello")
            assert [group.pool(server.url).stats().open_connections for server in servers] == [0, 1, 1]

    asyncio.run(main())


def test_a_caller_waits_until_another_endpoint_gives_a_connection_back(servers: list[LineServer]) -> None:
    with PoolGroup(max_total=1) as group:
        lease = group.connection(servers[0].url)
        answers: list[str] = []

        def other() -> None:
            with group.connection(servers[1].url) as sock:
                answers.append(ask(sock, "mine"))

        thread = threading.Thread(target=other)
        thread.start()
        while not group.stats().waiting:
            os.sched_yield()
        assert servers[1].accepted == 0
        lease.release()
        thread.join()
        assert answers == ["mine"]
        assert group.stats().open_connections == 1


def test_two_loops_in_two_threads_share_the_limit(servers: list[LineServer]) -> None:
    group = AsyncPoolGroup(max_total=1, timeout=60)
    lent, asked = threading.Event(), threading.Event()
    answers: list[str] = []

    async def first() -> None:
        async with group.connection(servers[0].url) as stream:
            lent.set()
            await until(lambda: group.stats().waiting)
            answers.append(await ask_async(stream, "first"))
        await asyncio.to_thread(asked.wait)  # what is closed for the other loop is closed by this one

    async def second() -> None:
        await asyncio.to_thread(lent.wait)
        async with group.connection(servers[1].url) as stream:
            answers.append(await ask_async(stream, "second"))
        asked.set()
        await group.close()

    threads = [threading.Thread(target=asyncio.run, args=(main(),)) for main in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["first", "second"]


@pytest.mark.parametrize("left", ["in use", "dialing"])
def test_what_a_closed_loop_has_left_in_one_pool_makes_room_for_another(
    servers: list[LineServer], left: str
) -> None:
    group = AsyncPoolGroup(max_total=1, timeout=60)

    async def leave_it() -> None:
        if left == "in use":
            leases.append(await group.pool(servers[0].url).acquire())
        else:
            asyncio.ensure_future(group.pool(servers[0].url).acquire())  # noqa: RUF006 - it is to be left
            await until(lambda: group.stats().open_connections)

    async def ask_another() -> None:
        async with group.connection(servers[1].url) as stream:
            assert await ask_async(stream, "hello") == "hello"
        await group.close()

    leases: list[Any] = []
    loop = asyncio.new_event_loop()
    loop.run_until_complete(leave_it())
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.close()
    asyncio.run(ask_another())


def test_one_who_waits_already_gets_the_place_that_a_loop_leaves_in_another_pool(
    servers: list[LineServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    group = AsyncPoolGroup(max_total=1, timeout=None)
    holder, other = LoopThread(asyncio.new_event_loop), LoopThread(asyncio.new_event_loop)
    lease = holder.run(group.pool(servers[0].url).acquire())
    pool = group.pool(servers[1].url)
    first_look = threading.Event()
    look = pool._claims

    def claims() -> frozenset[Any]:
        found = look()
        first_look.set()
        return found

    async def ask_another() -> None:
        async with pool.connection() as stream:
            assert await ask_async(stream, "hello") == "hello"

    monkeypatch.setattr(pool, "_claims", claims)
    waiting = other.begin(ask_another())
    assert first_look.wait(SAFETY)
    holder.close()  # and nobody is told
    waiting.result(SAFETY)
    other.run(group.close())
    other.close()
    lease.discard()


def test_one_that_times_out_is_told_of_the_group_and_who_holds_its_places(servers: list[LineServer]) -> None:
    with PoolGroup(max_total=1) as group:
        lease = group.connection(servers[0].url)

        def other() -> None:
            with pytest.raises(PoolTimeout) as caught:
                group.connection(servers[1].url, timeout=0.01)
            errors.append(caught.value)

        errors: list[PoolTimeout] = []
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        text = str(errors[0])
        assert "open 0 of 25" in text
        assert "open 1 of 1 in the group" in text
        assert f"held by {__file__}:" in text
        assert errors[0].phase == "wait"
        lease.release()


def test_a_thread_that_holds_every_place_of_the_group_is_told_so(servers: list[LineServer]) -> None:
    urls = [server.url for server in servers]
    with (
        PoolGroup(max_total=2) as group,
        group.connection(urls[0]),
        group.connection(urls[1]),
        pytest.raises(SelfDeadlock, match="in the group"),
        group.connection(urls[2]),
    ):
        pytest.fail("there was no place")


def test_a_task_is_told_so_too(servers: list[LineServer]) -> None:
    async def main() -> None:
        urls = [server.url for server in servers]
        async with AsyncPoolGroup(max_total=2) as group, group.connection(urls[0]), group.connection(urls[1]):
            lease = group.connection(urls[2])
            with pytest.raises(SelfDeadlock, match="in the group"):
                await lease.__aenter__()

    asyncio.run(main())


def test_a_lease_that_is_dropped_gives_its_place_back_though_its_pool_is_long_forgotten(
    servers: list[LineServer],
) -> None:
    with PoolGroup(max_total=1) as group:
        leases = [group.connection(servers[0].url)]
        for port in range(10_000, 10_000 + REMEMBERED):
            group.pool(f"tcp://127.0.0.1:{port}")

        def drop_and_ask_another() -> str:
            leases.clear()
            with group.connection(servers[1].url, timeout=60) as sock:
                return ask(sock, "hello")

        with pytest.warns(ResourceWarning, match="was dropped without release"):
            assert drop_and_ask_another() == "hello"


def test_a_group_that_does_not_queue_refuses(servers: list[LineServer]) -> None:
    with PoolGroup(max_total=1, on_full="reject") as group:
        with group.connection(servers[0].url), pytest.raises(PoolFull):
            group.connection(servers[1].url)
        with group.connection(servers[1].url) as sock:
            assert ask(sock, "now") == "now"


def test_resize_changes_the_limit_and_the_options_of_all_pools(servers: list[LineServer]) -> None:
    with PoolGroup(max_total=3) as group:
        for server in servers:
            with group.connection(server.url):
                pass
        group.resize(max_total=1, max_open=7)
        assert group.stats().idle == 1
        assert group.max_total == 1
        assert {pool.options.max_open for pool in group.pools} == {7}
        assert group.pool("tcp://127.0.0.1:9").options.max_open == 7


def test_an_option_that_one_of_the_pools_cannot_keep_changes_none(servers: list[LineServer]) -> None:
    with PoolGroup(max_total=3) as group:
        pools = [group.pool(target) for target in ("sqlite://", servers[0].url)]
        with pytest.raises(ConfigError, match="keepalive"):
            group.resize(max_total=1, keepalive="auto")
        assert group.max_total == 3
        assert {pool.options.keepalive for pool in pools} == {None}
        assert group.pool(servers[1].url).options.keepalive is None


def test_a_finalizer_in_the_middle_of_a_transition_changes_no_option_at_all() -> None:
    with PoolGroup(max_total=3) as group:
        pool = group.pool("sqlite://")
        with group._budget.lock, pytest.raises(Error, match="a finalizer"):
            group.resize(max_total=1, max_open=1)
        assert group.max_total == 3
        assert pool.options.max_open != 1


# ── the end ──────────────────────────────────────────────────────────────────────────────────────


def test_a_closed_group_refuses_old_and_new_endpoints(servers: list[LineServer]) -> None:
    group = PoolGroup()
    pool = group.pool(servers[0].url)
    with group.connection(servers[0].url):
        pass
    group.close()
    group.close()
    assert group.closed
    assert group.stats().open_connections == 0
    for target in (servers[0].url, servers[1].url):
        with pytest.raises(PoolClosed):
            group.connection(target)
    with pytest.raises(PoolClosed):
        pool.connection()


def test_close_lets_waiters_go_and_cuts_off_what_does_not_come_back(servers: list[LineServer]) -> None:
    async def main() -> None:
        group = AsyncPoolGroup(max_total=1)
        async with group.connection(servers[0].url) as (reader, _):
            waiting = asyncio.ensure_future(group.pool(servers[1].url).acquire())
            await until(lambda: group.stats().waiting)
            await group.close(timeout=0)
            with pytest.raises(PoolClosed):
                await waiting
            assert await reader.read() == b""
        assert group.stats().open_connections == 0

    asyncio.run(main())


def test_a_forked_child_has_a_group_of_its_own(servers: list[LineServer]) -> None:
    with PoolGroup(max_total=1) as group:
        lease = group.connection(servers[0].url)
        child = os.fork()
        if not child:
            with group.connection(servers[1].url, timeout=60) as sock:
                answer = ask(sock, "child")
            stats = group.stats()
            right = (answer, stats.open_connections, stats.max_open_connections) == ("child", 1, 1)
            os._exit(0 if right else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert ask(lease.connection, "parent") == "parent"
        lease.release()


def test_what_a_group_says_of_itself_tells_no_password(servers: list[LineServer]) -> None:
    with PoolGroup(max_total=4) as group:
        with group.connection(servers[0].url):
            assert repr(group) == "<PoolGroup 1 pools, open 1 of 4>"
            name, stats = group.stats().pools[0]
            assert (name, stats.in_use) == (f"127.0.0.1:{servers[0].port}", 1)
        pool = group.pool("redis://app:hush@localhost:1/0")
        assert "hush" not in f"{pool!r} {group!r} {group.stats()!r}"
    assert repr(group) == "<PoolGroup closed, open 0 of 4>"
