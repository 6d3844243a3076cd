"""Threads, no contention, a fake connection: what the pool itself costs on its hit path."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import ExitStack

from benches import loops, ours, peers
from benches.fakes import FakeConnection, FakeConnector, FakeDbapiConnection
from benches.measure import Compare, Metric, PerTurn
from benches.settings import Case, Settings, Sides

WHAT = "acquire + release"
SIZE = 10
SLICE = 0.08


def bare_deque(size: int) -> loops.Loop:
    """Build the floor: two operations on a deque under a lock, as functions; a pool that promises nothing."""
    lock = threading.Lock()
    idle = deque(FakeConnection() for _ in range(size))

    def get() -> FakeConnection:
        with lock:
            return idle.pop()

    def put(connection: FakeConnection) -> None:
        with lock:
            idle.append(connection)

    return loops.get_and_put(get, put)


def prepare(settings: Settings, stack: ExitStack) -> Sides:
    """One pool of fake connections per side."""
    pool = ours.threads_pool(stack, FakeConnector(), SIZE)
    of_callable = ours.threads_pool(stack, FakeConnection, SIZE)
    queue_pool = peers.sqlalchemy_fake(stack, FakeDbapiConnection, SIZE)
    pooled_db = peers.dbutils_fake(stack, FakeDbapiConnection, SIZE)
    forms = {
        "cenote": loops.with_block(pool.connection),
        "cenote acquire/release": loops.get_and_release(pool.acquire),
        "cenote, plain callable": loops.with_block(of_callable.connection),
        "two lock + deque operations": bare_deque(SIZE),
        "SQLAlchemy QueuePool": loops.get_and_close(queue_pool.connect),
        "DBUtils PooledDB": loops.get_and_close(pooled_db.dedicated_connection),
    }
    return {name: PerTurn(WHAT, loop, settings.slice(SLICE)) for name, loop in forms.items()}


CASE = Case(
    key="threads",
    title="threads, uncontended, fake connection",
    metrics=[
        Metric(
            WHAT,
            "µs",
            [
                Compare("cenote", "two lock + deque operations", at_most=2.5),
                Compare("cenote acquire/release", "two lock + deque operations", cost=True),
                Compare("cenote, plain callable", "two lock + deque operations", cost=True),
                Compare("cenote", "SQLAlchemy QueuePool", at_least=5),
                Compare("cenote", "DBUtils PooledDB"),
            ],
        )
    ],
    rounds=15,
    prepare=prepare,
)
