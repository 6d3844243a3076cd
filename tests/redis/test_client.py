"""redis-py's own client does through the drop-in pools all that it does through its own."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio
from redis.cache import CacheConfig
from redis.connection import CacheProxyConnection

import cenote.redis
from tests.conftest import MakeRedis
from tests.drivers.test_mysql_tls import make_certificate
from tests.patience import SAFETY
from tests.redis.worlds import WORLDS, World, client_of, done, entered, in_worlds, lent, name, using
from tests.servers.redis import TLS, RedisServer

PROTOCOLS = pytest.mark.parametrize("protocol", [2, 3])


def in_order(pool: Any, size: int = 1) -> bool:
    """Whether all connections are back, and none had to be given up."""
    stats = pool.stats()
    return bool(
        stats.in_use == 0 and stats.idle == size and stats.discarded == 0 and stats.connect_count == size
    )


@PROTOCOLS
@in_worlds(WORLDS)
async def test_common_commands(world: World, redis_server: RedisServer, protocol: int) -> None:
    key = name()
    async with using(world, redis_server, max_open=1, protocol=protocol, decode_responses=True) as (r, pool):
        assert await done(r.set(key, "grüße", ex=100))
        assert await done(r.get(key)) == "grüße"
        assert 0 < await done(r.ttl(key)) <= 100
        assert await done(r.hset(f"{key}:h", mapping={"a": 1, "b": 2})) == 2
        assert await done(r.hgetall(f"{key}:h")) == {"a": "1", "b": "2"}
        assert await done(r.rpush(f"{key}:l", *range(5))) == 5
        assert await done(r.lrange(f"{key}:l", 0, -1)) == list("01234")
        assert await done(r.sadd(f"{key}:s", "x", "y")) == 2
        assert await done(r.smembers(f"{key}:s")) == {"x", "y"}
        assert await done(r.zadd(f"{key}:z", {"one": 1})) == 1
        assert await done(r.zscore(f"{key}:z", "one")) == 1.0
        assert await done(r.set(f"{key}:big", "x" * 1_000_000))
        assert len(await done(r.get(f"{key}:big"))) == 1_000_000
        assert await done(r.exists(f"{key}:none")) == 0
        assert in_order(pool)
        found = (
            [one async for one in r.scan_iter(f"{key}*")] if not world.blocking else [*r.scan_iter(f"{key}*")]
        )
        assert len(found) == 6
        assert await done(r.delete(*found)) == 6
        assert in_order(pool)


@PROTOCOLS
@in_worlds(WORLDS)
async def test_an_error_of_one_command_costs_no_connection(
    world: World, redis_server: RedisServer, protocol: int
) -> None:
    async with using(world, redis_server, max_open=1, protocol=protocol) as (r, pool):
        await done(r.set(key := name(), "text"))
        with pytest.raises(redis.ResponseError, match="not an integer"):
            await done(r.incr(key))
        assert await done(r.get(key)) == b"text"
        assert in_order(pool)


@PROTOCOLS
@in_worlds(WORLDS)
async def test_pipelines_and_transactions(world: World, redis_server: RedisServer, protocol: int) -> None:
    async with using(world, redis_server, max_open=1, protocol=protocol) as (r, pool):
        for transaction in (True, False):
            async with entered(r.pipeline(transaction=transaction)) as pipe:
                for number in range(100):
                    pipe.set(key := name(), number).get(key)
                replies = await done(pipe.execute())
            assert replies[1::2] == [b"%d" % number for number in range(100)]
            async with entered(r.pipeline(transaction=transaction)) as pipe:
                pipe.set(key, "text").incr(key).get(key)
                replies = await done(pipe.execute(raise_on_error=False))
            assert isinstance(replies[1], redis.ResponseError)
            assert replies[2] == b"text"
            async with entered(r.pipeline(transaction=transaction)) as pipe:
                pipe.execute_command("NO-SUCH-COMMAND").get(key)
                with pytest.raises(redis.ResponseError):
                    await done(pipe.execute())
        assert in_order(pool)


@in_worlds(WORLDS)
async def test_watch_loops_under_contention_lose_no_increment(
    world: World, redis_server: RedisServer
) -> None:
    users, turns = 8, 10
    async with using(world, redis_server, max_open=4) as (r, pool):
        key = name()

        async def user() -> None:
            for _ in range(turns):
                async with entered(r.pipeline()) as pipe:
                    while True:
                        try:
                            await done(pipe.watch(key))
                            value = int(await done(pipe.get(key)) or 0)
                            pipe.multi()
                            pipe.set(key, value + 1)
                            await done(pipe.execute())
                            break
                        except redis.WatchError:
                            continue

        await world.crowd(*(user() for _ in range(users)))
        assert int(await done(r.get(key))) == users * turns
        assert pool.stats().discarded == 0
        assert pool.stats().open_connections <= 4


@PROTOCOLS
@in_worlds(WORLDS)
async def test_publish_and_subscribe(world: World, redis_server: RedisServer, protocol: int) -> None:
    channel = name("channel")
    async with using(world, redis_server, max_open=2, protocol=protocol) as (r, pool):
        async with entered(r.pubsub()) as subscription:
            await done(subscription.subscribe(channel))
            await done(subscription.psubscribe(f"{channel}*"))
            heard = [await done(subscription.get_message(timeout=SAFETY)) for _ in range(2)]
            assert [one["type"] for one in heard] == ["subscribe", "psubscribe"]
            assert await done(r.publish(channel, "news")) == 2
            heard = [await done(subscription.get_message(timeout=SAFETY)) for _ in range(2)]
            assert [one["data"] for one in heard] == [b"news", b"news"]
            assert "test_client.py" in pool.holders()[0].site or "cases.py" in pool.holders()[0].site
        assert pool.stats().in_use == 0
        assert await done(r.echo("still there")) == b"still there"
        assert pool.stats().generation == 0


@in_worlds(WORLDS)
async def test_a_blocking_pop_waits_for_what_another_user_pushes(
    world: World, redis_server: RedisServer
) -> None:
    key = name()
    async with using(world, redis_server, max_open=2) as (r, pool):

        async def pop() -> Any:
            return await done(r.blpop([key], timeout=30))

        async def push() -> Any:
            await world.aside(redis_server.wait_for_command, "blpop")
            return await done(r.rpush(key, "value"))

        popped, pushed = await world.crowd(pop(), push())
        assert list(popped) == [key.encode(), b"value"]
        assert pushed == 1
        assert pool.stats().in_use == 0


@in_worlds(WORLDS)
async def test_scripts_and_locks(world: World, redis_server: RedisServer) -> None:
    async with using(world, redis_server, max_open=1) as (r, pool):
        key = name()
        script = r.register_script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
        assert await done(script(keys=[key], args=[5])) == 5
        await done(r.script_flush())
        assert await done(script(keys=[key], args=[5])) == 10
        assert await done(r.eval("return {1, 2, ARGV[1]}", 0, "x")) == [1, 2, b"x"]
        async with entered(r.lock(name("lock"), timeout=SAFETY)) as lock:
            assert await done(lock.owned())
        assert in_order(pool)


@in_worlds(WORLDS)
async def test_a_monitor_sees_commands_and_is_closed_in_the_end(
    world: World, redis_server: RedisServer
) -> None:
    async with using(world, redis_server, max_open=2) as (r, pool):
        async with entered(r.monitor()) as monitor:
            word = name("word")
            await done(r.echo(word))
            while True:
                heard = await done(monitor.next_command())
                if word in heard["command"]:
                    break
        assert pool.stats().in_use == 0
        assert await done(r.ping())


@in_worlds(WORLDS)
async def test_a_client_of_one_connection_keeps_it_until_it_is_closed(
    world: World, redis_server: RedisServer
) -> None:
    async with using(world, redis_server, max_open=1) as (_, pool):
        client = client_of(world, pool, single_connection_client=True)
        for _ in range(3):
            assert await done(client.ping())
            assert pool.stats().in_use == 1
        await done(client.close() if world.blocking else client.aclose())
        assert in_order(pool)


@in_worlds(WORLDS)
async def test_names_credentials_and_databases_are_given_as_to_redis_pys_own_pools(
    world: World, redis_server: RedisServer
) -> None:
    user = name("user")
    with redis_server.admin() as admin:
        admin.acl_setuser(user, enabled=True, passwords=["+s3cret"], categories=["+@all"], keys=["*"])

    class Credentials(redis.CredentialProvider):
        asked = 0

        def get_credentials(self) -> tuple[str, str]:
            self.asked += 1
            return user, "s3cret"

    provider = Credentials()
    async with using(
        world,
        f"redis://{redis_server.host}:{redis_server.port}/3",
        credential_provider=provider,
        client_name="me",
        max_open=1,
    ) as (r, _):
        info = await done(r.client_info())
        assert (info["user"], info["name"], int(info["db"])) == (user, "me", 3)
        assert provider.asked == 1


@in_worlds(WORLDS)
async def test_health_checks_of_redis_py_go_on(world: World, redis_server: RedisServer) -> None:
    async with using(world, redis_server, max_open=1, health_check_interval=30) as (r, pool):
        await done(r.ping())
        async with lent(pool) as connection:
            connection.next_health_check = 0  # long ago
        assert await done(r.echo("x")) == b"x"
        assert in_order(pool)


@in_worlds(WORLDS)
async def test_unix_sockets_by_either_spelling(world: World, redis_server: RedisServer) -> None:
    for scheme in ("unix", "redis+unix"):
        async with using(world, redis_server.url(scheme, database=5), max_open=1) as (r, pool):
            assert await done(r.set(name(), 1))
            assert pool.name == "socket"
            assert in_order(pool)
    pool = world.pool(redis_server.url("redis+unix"), max_open=1)
    async with entered(pool), entered(pool.connection()) as connection:
        await done(connection.send_command("PING"))
        assert await done(connection.read_response()) == b"PONG"


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> TLS:
    return TLS(*make_certificate(tmp_path_factory.mktemp("tls")))


@in_worlds(WORLDS)
async def test_tls_is_spoken_and_idle_connections_are_alive(
    world: World, make_redis: MakeRedis, tls: TLS
) -> None:
    server = make_redis(tls=tls)
    url = f"{server.url('rediss')}?ssl_ca_certs={tls.certificate}"
    async with using(world, url, max_open=1) as (r, pool):
        for number in range(20):
            assert await done(r.echo(str(number))) == b"%d" % number
        assert in_order(pool)
    pool = world.pool(f"{server.url('rediss')}?ssl_ca_certs={Path('/nowhere')}", max_open=1, timeout=SAFETY)
    async with entered(pool):
        with pytest.raises(cenote.ConnectError):
            await done(pool.ping())


def test_the_client_side_cache_is_told_of_changes(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CacheProxyConnection, "MIN_ALLOWED_VERSION", "6.0.0")  # a wish of redis-py's alone
    pool = cenote.redis.ConnectionPool.from_url(
        redis_server.url(), max_open=1, protocol=3, cache_config=CacheConfig()
    )
    with pool:
        client, key = redis.Redis(connection_pool=pool), name()
        client.set(key, 1)
        assert [client.get(key) for _ in range(3)] == [b"1"] * 3
        cache = client.get_cache()
        assert cache is not None
        assert cache.size == 1
        with redis_server.admin() as admin:
            admin.set(key, 2)
        assert client.get(key) == b"2"
        assert pool.stats().in_use == 0
        subscription: Any = client.pubsub()  # type: ignore[no-untyped-call]  # redis-py has no types there
        subscription.subscribe(name("channel"))
        subscription.close()
        assert client.get(key) == b"2"


@in_worlds(WORLDS)
async def test_a_closed_pool_opens_again_as_redis_pys_own_does(
    world: World, redis_server: RedisServer
) -> None:
    async with using(world, redis_server, max_open=3) as (r, pool):
        for _ in range(2):
            pool.resize(max_open=2)
            assert await done(r.ping())
            await done(pool.close() if world.blocking else pool.aclose())
            assert pool.stats().open_connections == 0
        assert pool.max_connections == 2


@in_worlds(WORLDS)
async def test_a_client_made_by_from_pool_closes_the_pool(world: World, redis_server: RedisServer) -> None:
    async with using(world, redis_server, max_open=3) as (r, pool):
        owner = type(r).from_pool(pool)
        assert await done(owner.ping())
        await done(owner.close() if world.blocking else owner.aclose())
        assert pool.stats().open_connections == 0


@in_worlds(WORLDS)
async def test_disconnect_closes_what_is_idle_and_cuts_off_what_is_in_use(
    world: World, redis_server: RedisServer
) -> None:
    label = name("label")
    async with using(world, redis_server, max_open=2, client_name=label) as (r, pool):
        async with lent(pool) as held:
            await done(r.ping())
            await done(pool.disconnect())
            with suppress(redis.ConnectionError):  # for asyncio redis-py opens another
                await done(held.send_command("PING"))
                await done(held.read_response())
        await world.aside(redis_server.wait_for_connections, 0, label)
        assert await done(r.ping())
        await done(pool.disconnect(inuse_connections=False))
        await world.aside(redis_server.wait_for_connections, 0, label)


def test_new_credentials_are_sent_on_release_and_before_the_next_use(redis_server: RedisServer) -> None:
    user = name("user")
    with redis_server.admin() as admin:
        admin.acl_setuser(user, enabled=True, passwords=["+s3cret"], categories=["+@all"], keys=["*"])

    class Token:
        def try_get(self, key: str) -> str:
            assert key == "oid"
            return user

        def get_value(self) -> str:
            return "s3cret"

    with cenote.redis.ConnectionPool.from_url(redis_server.url(), max_open=2) as pool:
        client = redis.Redis(connection_pool=pool)
        held, idle = pool.get_connection(), pool.get_connection()
        pool.release(idle)
        token: Any = Token()
        pool.re_auth_callback(token)
        assert client.acl_whoami() in {user, user.encode()}
        pool.release(held)
        held.send_command("ACL", "WHOAMI")
        assert held.read_response() == user.encode()
        assert in_order(pool, 2)


def test_redis_py_is_heard_when_it_changes_how_it_retries(redis_server: RedisServer) -> None:
    with cenote.redis.ConnectionPool.from_url(redis_server.url(), max_open=2) as pool:
        held = pool.get_connection()
        retry: Any = object()
        pool.set_retry(retry)
        assert held.retry is retry
        pool.release(held)
        assert (len(pool._available_connections), len(pool._in_use_connections)) == (1, 0)
        assert pool.connection_kwargs["retry"] is retry
        pool.connection_kwargs.pop("retry")


async def test_one_pool_serves_several_loops(redis_server: RedisServer) -> None:
    pool = cenote.redis.AsyncConnectionPool.from_url(redis_server.url(), max_open=2)
    client = redis.asyncio.Redis(connection_pool=pool)

    def elsewhere() -> None:
        async def main() -> None:
            assert await client.ping()

        asyncio.run(main())

    assert await client.ping()
    thread = threading.Thread(target=elsewhere)
    thread.start()
    await asyncio.to_thread(thread.join)
    assert await client.ping()
    await pool.aclose()
