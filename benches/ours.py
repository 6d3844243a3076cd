"""cenote's pools, opened full and closed with the stack: all options but the size at their defaults."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import cenote


def threads_pool(
    stack: ExitStack, target: str | cenote.Connector[Any] | Callable[[], Any], size: int
) -> cenote.Pool[Any]:
    """Make a `Pool` and open all its connections before anything is measured."""
    pool: cenote.Pool[Any] = cenote.Pool(target, max_open=size)
    stack.callback(pool.close)
    for lease in [pool.acquire() for _ in range(size)]:
        lease.release()
    return pool


def tasks_pool(
    stack: ExitStack, runner: asyncio.Runner, target: str | cenote.AsyncConnector[Any], size: int
) -> cenote.AsyncPool[Any]:
    """Make an `AsyncPool` and open all its connections before anything is measured."""
    pool: cenote.AsyncPool[Any] = cenote.AsyncPool(target, max_open=size)
    stack.callback(lambda: runner.run(pool.close()))

    async def fill() -> None:
        for lease in [await pool.acquire() for _ in range(size)]:
            await lease.release()

    runner.run(fill())
    return pool
