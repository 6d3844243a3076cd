"""A forked child opens its own connections, whatever is idle or out; the parent notices nothing."""

from __future__ import annotations

from tests.postgres.test_fork import in_child
from tests.redis.worlds import WORLDS, World, done, fill, id_of, in_worlds, lent, name, talk, using
from tests.servers.redis import RedisServer


@in_worlds(WORLDS)
async def test_a_fork_with_connections_out_and_idle(world: World, redis_server: RedisServer) -> None:
    async with using(world, redis_server, max_open=3) as (client, pool):
        parents = await fill(pool, 3)
        held = await done(pool.get_connection())

        async def child() -> list[int]:
            if world.blocking:  # of another loop's connection nobody can ask anything
                held.disconnect()
                pool.release(held)
            assert await done(client.echo("child")) == b"child"
            numbers = await fill(pool, 2)
            await done(pool.close() if world.blocking else pool.aclose())
            return numbers

        children = await world.aside(in_child, world, child)
        assert len(children) == 2
        assert not set(children) & set(parents)
        assert await talk(held, "ECHO", "parent") == b"parent"
        await done(pool.release(held))
        assert sorted(await fill(pool, 3)) == sorted(parents)


@in_worlds(WORLDS)
async def test_a_fork_in_the_middle_of_a_transaction_leaves_it_to_the_parent(
    world: World, redis_server: RedisServer
) -> None:
    async with using(world, redis_server, max_open=1) as (_, pool):
        key = name()
        async with lent(pool) as connection:
            await talk(connection, "MULTI")
            await talk(connection, "SET", key, 1)

            async def child() -> list[int]:
                async with lent(pool) as own:
                    number = await id_of(own)
                await done(pool.close() if world.blocking else pool.aclose())
                return [number]

            assert len(await world.aside(in_child, world, child)) == 1
            assert await talk(connection, "EXEC") in ([b"OK"], ["OK"])
