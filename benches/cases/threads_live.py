"""Threads, no contention, live PostgreSQL connections: what not handing out a dead one costs."""

from __future__ import annotations

from contextlib import ExitStack

from benches import loops, ours, peers
from benches.measure import Compare, Metric, PerTurn
from benches.settings import Case, Settings, Sides

WHAT = "acquire + release"
SIZE = 4
SLICE = 0.08


def prepare(settings: Settings, stack: ExitStack) -> Sides:
    """One pool of psycopg connections per side."""
    dsn = settings.database.dsn
    pool = ours.threads_pool(stack, settings.database.url("psycopg"), SIZE)
    plain = peers.psycopg_threads(stack, dsn, SIZE)
    checked = peers.psycopg_threads(stack, dsn, SIZE, check=True)
    queue_pool = peers.sqlalchemy_engine(stack, dsn, SIZE, pre_ping=True).pool
    forms = {
        "cenote": loops.with_block(pool.connection),
        "cenote acquire/release": loops.get_and_release(pool.acquire),
        "psycopg_pool, check=": loops.with_block(checked.connection),
        "psycopg_pool": loops.with_block(plain.connection),
        "psycopg_pool getconn/putconn": loops.get_and_put(plain.getconn, plain.putconn),
        "SQLAlchemy pool_pre_ping": loops.get_and_close(queue_pool.connect),
    }
    return {name: PerTurn(WHAT, loop, settings.slice(SLICE)) for name, loop in forms.items()}


CASE = Case(
    key="threads-live",
    title="threads, uncontended, live PostgreSQL connection, liveness checked",
    metrics=[
        Metric(
            WHAT,
            "µs",
            [
                Compare("cenote", "psycopg_pool, check=", at_least=60),
                Compare("cenote", "SQLAlchemy pool_pre_ping", at_least=60),
                Compare("cenote", "psycopg_pool", at_least=3),
                Compare("cenote acquire/release", "psycopg_pool getconn/putconn"),
            ],
        )
    ],
    rounds=15,
    prepare=prepare,
)
