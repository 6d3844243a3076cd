"""The bound, the queue, deadlines and errors of the drop-in pools; and what a user has lost is found."""

from __future__ import annotations

import asyncio
import gc
import pickle
import threading
from typing import Any

import pytest
import redis

import cenote
import cenote.redis
from cenote.redis import errors
from tests.patience import SAFETY
from tests.redis.worlds import (
    TASK_WORLDS,
    WORLDS,
    World,
    done,
    drop_in,
    in_worlds,
    lent,
    name,
    using,
)
from tests.servers.redis import RedisServer


@in_worlds(WORLDS)
async def test_a_crowd_is_served_by_no_more_connections_than_allowed_and_nobody_fails(
    world: World, redis_server: RedisServer
) -> None:
    label = name("label")
    async with using(world, redis_server, max_open=3, client_name=label) as (client, pool):

        async def user() -> None:
            for _ in range(5):
                word = name("word").encode()
                assert await done(client.echo(word)) == word

        await world.crowd(*(user() for _ in range(30)))
        assert await world.aside(redis_server.count_connections, label) <= 3
        assert pool.stats().acquire_count == 150


@in_worlds(WORLDS)
async def test_a_wait_past_the_deadline_is_caught_by_either_librarys_names(
    world: World, redis_server: RedisServer
) -> None:
    async with using(world, redis_server, max_open=1) as (client, pool):

        async def somebody_else() -> Any:
            return await done(pool.get_connection())

        (held,) = await world.crowd(somebody_else())
        pool.resize(timeout="20ms")
        for kind in (cenote.PoolTimeout, redis.ConnectionError, redis.TimeoutError, TimeoutError):
            with pytest.raises(kind, match=r"every connection is in other hands.* held by .*/tests/"):
                await done(client.ping())
        pool.resize(timeout="30s")
        with cenote.timeout("20ms"), pytest.raises(cenote.PoolTimeout) as caught:
            await done(client.ping())
        assert caught.value.phase == "wait"
        assert pool.stats().timeout_count == 5
        await done(pool.release(held))


@in_worlds(WORLDS)
async def test_what_a_full_pool_does_is_up_to_its_owner(world: World, redis_server: RedisServer) -> None:
    async with using(world, redis_server, max_open=1, on_full="reject") as (client, pool):
        async with lent(pool):
            for kind in (cenote.PoolFull, redis.exceptions.MaxConnectionsError, redis.ConnectionError):
                with pytest.raises(kind):
                    await done(client.ping())
        assert await done(client.ping())
    async with using(world, redis_server, max_open=1, on_full="overflow", max_overflow=1) as (client, pool):
        held = await done(pool.get_connection())
        assert await done(client.ping())
        assert pool.stats().overflow_open <= 1
        await done(pool.release(held))
    async with using(world, redis_server, max_connections=1) as (client, pool):  # "wait"
        held = await done(pool.get_connection())

        async def give_back() -> None:
            while not pool.stats().waiting:
                await (asyncio.sleep(0) if not world.blocking else _nothing())
            await done(pool.release(held))

        answers = await world.crowd(_ping(client), give_back())
        assert answers[0] is True


async def _nothing() -> None:
    """Do not suspend: threads are switched anyway."""


async def _ping(client: Any) -> Any:
    return await done(client.ping())


@in_worlds(WORLDS)
async def test_those_who_wait_when_the_pool_is_closed_are_told(
    world: World, redis_server: RedisServer
) -> None:
    async with using(world, redis_server, max_open=1) as (client, pool):
        held = await done(pool.get_connection())

        async def wait() -> None:
            with pytest.raises(redis.ConnectionError, match="closed") as caught:
                await done(client.ping())
            assert isinstance(caught.value, cenote.PoolClosed)

        async def close() -> None:
            while not pool.stats().waiting:
                await (asyncio.sleep(0) if not world.blocking else _nothing())
            await done(pool.close() if world.blocking else pool.aclose())

        await world.crowd(wait(), close())
        await done(pool.release(held))
        assert await done(client.ping())


@in_worlds(WORLDS)
async def test_an_error_of_a_dial_is_of_redis_pys_kind_too(world: World, redis_server: RedisServer) -> None:
    wrong = redis_server.url(password="wrong-password")
    async with using(world, wrong, max_open=1) as (client, _):
        for kind in (cenote.ConnectError, redis.AuthenticationError, redis.ConnectionError):
            with pytest.raises(kind, match="invalid username-password pair") as caught:
                await done(client.ping())
            assert "wrong-password" not in str(caught.value)
            assert isinstance(caught.value.__cause__, redis.AuthenticationError)
            again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - of our own making
            assert (type(again), str(again)) == (type(caught.value), str(caught.value))
    async with using(world, redis_server.url(database=999), max_open=1) as (client, _):
        with pytest.raises(redis.ResponseError, match="out of range"):
            await done(client.ping())


def test_waiting_on_oneself_is_said_to_be_so(redis_server: RedisServer) -> None:
    with cenote.redis.ConnectionPool.from_url(redis_server.url(), max_open=1) as pool:
        held = pool.get_connection()
        pool.resize(timeout="50ms")
        with pytest.raises(cenote.SelfDeadlock) as caught:
            pool.get_connection()
        assert type(caught.value) is errors.SelfDeadlock
        pool.release(held)


def test_every_error_is_both() -> None:
    for kind in (
        errors.PoolTimeout,
        errors.PoolFull,
        errors.PoolClosed,
        errors.ConnectError,
        errors.SelfDeadlock,
    ):
        assert issubclass(kind, cenote.Error)
        assert issubclass(kind, redis.ConnectionError)
    timeout = errors.PoolTimeout("late", "wait")
    assert pickle.loads(pickle.dumps(timeout)).phase == "wait"  # noqa: S301 - of our own making


@in_worlds(WORLDS)
async def test_a_connection_that_its_user_has_lost_is_found_and_closed(
    world: World, redis_server: RedisServer
) -> None:
    label = name("label")
    for protocol in (2, 3):
        async with using(world, redis_server, max_open=1, client_name=label, protocol=protocol) as (
            client,
            pool,
        ):
            await done(client.ping())
            with pytest.warns(ResourceWarning, match=r"was dropped without release|unclosed"):
                await _lose(pool, client)
            assert pool.stats().discarded == 1
            assert pool.stats().in_use == 0
            assert pool.stats().connect_count == 2
        await world.aside(redis_server.wait_for_connections, 0, label)


async def _lose(pool: Any, client: Any) -> None:
    async def lose() -> None:
        await done((await done(pool.get_connection())).send_command("PING"))

    await lose()
    gc.collect()
    assert await done(client.ping())


@in_worlds(TASK_WORLDS)
async def test_the_task_that_holds_a_connection_may_end(world: World, redis_server: RedisServer) -> None:
    async with using(world, redis_server, max_open=1) as (client, pool):
        connection = await asyncio.create_task(pool.get_connection())
        assert pool.stats().in_use == 1
        await pool.release(connection)
        assert await client.ping()


def test_waiters_are_served_in_the_order_in_which_they_came(redis_server: RedisServer) -> None:
    with cenote.redis.ConnectionPool.from_url(redis_server.url(), max_open=1) as pool:
        held, order, threads = pool.get_connection(), list[int](), []

        def user(number: int) -> None:
            connection = pool.get_connection()
            order.append(number)
            pool.release(connection)

        for number in range(10):
            threads.append(threading.Thread(target=user, args=(number,), daemon=True))
            threads[-1].start()
            while pool.stats().waiting <= number:
                pass
        pool.release(held)
        for thread in threads:
            thread.join(SAFETY)
        assert order == list(range(10))


@in_worlds(WORLDS)
async def test_our_options_and_redis_pys_are_told_apart_by_name(
    world: World, redis_server: RedisServer
) -> None:
    url = f"{redis_server.url()}?max_open=3&socket_timeout=2.5&keepalive=30s&decode_responses=yes"
    pool = drop_in(world, url, client_name="x", max_idle=2, keepalive="1m", name="mine")
    options = pool.options
    assert (options.max_open, options.max_idle, options.keepalive, options.name) == (3, 2, 60.0, "mine")
    assert pool.connection_kwargs["socket_timeout"] == 2.5
    assert pool.connection_kwargs["decode_responses"] is True
    assert pool.connection_kwargs["client_name"] == "x"
    assert "max_open" not in pool.connection_kwargs
    assert redis_server.password is not None
    assert redis_server.password not in repr(pool)
    pool.max_connections = 7
    assert pool.max_connections == pool.options.max_open == 7


BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"max_opne": 3}, TypeError, "did you mean 'max_open'"),
    ({"socket_timout": 3}, TypeError, "did you mean 'socket_timeout'"),
    ({"max_open": 0}, cenote.ConfigError, "max_open: must be a whole number"),
    (
        {"max_open": 3, "max_connections": 3},
        cenote.ConfigError,
        "max_connections: is another word for max_open",
    ),
    ({"protocol": 5}, cenote.ConfigError, "protocol must be"),
    ({"on_full": "fail"}, cenote.ConfigError, "on_full"),
]


@pytest.mark.parametrize(("given", "kind", "text"), BAD, ids=[" ".join(given) for given, _, _ in BAD])
def test_what_makes_no_sense_is_refused_before_anything_is_opened(
    given: dict[str, Any], kind: type[Exception], text: str
) -> None:
    for pool in (cenote.redis.ConnectionPool, cenote.redis.AsyncConnectionPool):
        with pytest.raises(kind, match=text):
            pool(host="nowhere.invalid", **given)
        with pytest.raises(kind, match=text):
            pool.from_url("redis://nowhere.invalid", **given)


URLS = [
    ("redis://:se:cr@et@db:x/0", "cannot read host and port"),
    ("redis://:secret@db:99999/0", "cannot read host and port"),
    ("redis://:secret@db/orders", "db: the path of .* must be the number"),
    ("redis://:secret@db/0?socket_timeout=soon", "the value of socket_timeout"),
    ("redis://:secret@db/0?socket_timout=1", "did you mean 'socket_timeout'"),
    ("redis://:secret@db/0?ssl_ca_certs=x", "unknown parameter 'ssl_ca_certs'"),
    ("redis://:secret@db/0?db=1&db=2", "db: given twice"),
    ("redis://:secret@db/0?decode_responses=maybe", "decode_responses: must be yes or no"),
    ("redis+unix://", "names no socket"),
    ("redis://:secret@db/0?credential_provider=x", "unknown parameter"),
]


@pytest.mark.parametrize(("url", "text"), URLS, ids=[text for _, text in URLS])
def test_a_url_that_cannot_be_read_is_refused_without_its_password(url: str, text: str) -> None:
    makers: list[Any] = [
        cenote.Pool,
        cenote.AsyncPool,
        cenote.redis.ConnectionPool.from_url,
        cenote.redis.AsyncConnectionPool.from_url,
    ]
    for make in makers:
        with pytest.raises(cenote.ConfigError, match=text) as caught:
            make(url)
        assert "secret" not in str(caught.value)
        assert "cr@et" not in str(caught.value)


@in_worlds(WORLDS)
async def test_a_subscription_counts_as_held_and_its_line_is_shown(
    world: World, redis_server: RedisServer
) -> None:
    async with using(world, redis_server, max_open=2) as (client, pool):
        subscription = client.pubsub()
        await done(subscription.subscribe(name("channel")))
        (holder,) = pool.holders()
        assert "/tests/" in holder.site
        await done(subscription.close() if world.blocking else subscription.aclose())
        assert pool.holders() == []
