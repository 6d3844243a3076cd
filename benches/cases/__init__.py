"""The cases, one module each, in the order of the table of bars."""

from __future__ import annotations

from benches.cases import (
    asyncio_idle,
    query_row,
    redis_tasks,
    redis_threads,
    size,
    sockets,
    streaming,
    tasks_crowd,
    tasks_insert,
    threads_crowd,
    threads_fake,
    threads_insert,
    threads_live,
)
from benches.settings import Case

CASES: tuple[Case, ...] = (
    threads_fake.CASE,
    threads_live.CASE,
    asyncio_idle.CASE,
    threads_crowd.CASE,
    tasks_crowd.CASE,
    threads_insert.CASE,
    tasks_insert.CASE,
    size.CASE,
    *query_row.CASES,
    *streaming.CASES,
    *redis_threads.CASES,
    *redis_tasks.CASES,
    *sockets.CASES,
)
