"""Many callers of many endpoints: never more open than the group allows, and nobody is forgotten."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter

import pytest

from cenote import AsyncPoolGroup, PoolGroup
from cenote.errors import ConnectError

ENDPOINTS, LIMIT, CALLERS, ROUNDS = 6, 4, 12, 150
SEED = 31_4159


class Count:
    """How many connections are open in all endpoints, and how many there have been at most."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.open = self.most = 0

    def change(self, by: int) -> None:
        """Count one more or one less."""
        with self.lock:
            self.open += by
            self.most = max(self.most, self.open)


class Endpoint:
    """A connector of which one dial in ten fails."""

    def __init__(self, name: int, count: Count) -> None:
        self.name, self.count, self.rng = name, count, random.Random(SEED + name)

    def connect(self, timeout: float) -> list[int]:
        """Open one, or fail. It takes a place from the moment it is tried."""
        self.count.change(1)
        if self.rng.random() < 0.1:
            self.count.change(-1)
            raise ConnectionRefusedError
        return [self.name]

    def close(self, connection: list[int]) -> None:
        """Close one."""
        self.count.change(-1)


class AsyncEndpoint:
    """The same for asyncio."""

    def __init__(self, name: int, count: Count) -> None:
        self.plain = Endpoint(name, count)

    async def connect(self, timeout: float) -> list[int]:
        """Open one, a turn later."""
        await asyncio.sleep(0)
        return self.plain.connect(timeout)

    async def close(self, connection: list[int]) -> None:
        """Close one."""
        self.plain.close(connection)


def test_threads_of_many_endpoints_share_a_few_places() -> None:
    count, served = Count(), Counter[int]()
    endpoints = [Endpoint(name, count) for name in range(ENDPOINTS)]
    group = PoolGroup(max_total=LIMIT, max_open=3, timeout=120)
    failures: list[BaseException] = []

    def call(number: int) -> None:
        rng = random.Random(SEED * number)
        try:
            while served[number] < ROUNDS:
                endpoint = rng.choice(endpoints)
                try:
                    lease = group.pool(endpoint).acquire()
                except ConnectError:  # three dials in a row had failed
                    continue
                assert lease.connection == [endpoint.name]
                served[number] += 1
                lease.discard() if rng.random() < 0.1 else lease.release()
        except BaseException as error:  # noqa: BLE001 - the test tells
            failures.append(error)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert served == dict.fromkeys(range(CALLERS), ROUNDS)
    assert count.most <= LIMIT
    group.close()
    assert count.open == 0
    assert group.stats().open_connections == 0


@pytest.mark.parametrize("cancels", [False, True], ids=["patient", "cancelled at random"])
def test_tasks_of_many_endpoints_share_a_few_places(cancels: bool) -> None:
    async def main() -> None:
        count, rng = Count(), random.Random(SEED)
        endpoints = [AsyncEndpoint(name, count) for name in range(ENDPOINTS)]
        served = 0

        async def call() -> None:
            nonlocal served
            async with group.connection(rng.choice(endpoints)) as connection:
                await asyncio.sleep(0)
                assert connection
                served += 1

        async with AsyncPoolGroup(max_total=LIMIT, max_open=3, timeout=120) as group:
            for _ in range(ROUNDS // 10):
                tasks = [asyncio.ensure_future(call()) for _ in range(CALLERS * 10)]
                victims = rng.sample(tasks, 40) if cancels else []
                for victim in victims:
                    await asyncio.sleep(0)
                    victim.cancel()
                results = await asyncio.gather(*tasks, return_exceptions=True)
                wrong = [
                    one
                    for one in results
                    if not isinstance(one, asyncio.CancelledError | ConnectError | None)
                ]
                assert wrong == []
            assert served >= ROUNDS * (CALLERS - 4)
            assert count.most <= LIMIT
            assert group.stats().in_use == 0
        assert count.open == 0

    asyncio.run(main())
