"""The loops that are timed without contention: acquire and release, over and over, once per form."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any

Loop = Callable[[int], None]


def with_block(enter: Callable[[], AbstractContextManager[Any]]) -> Loop:
    """Time ``with enter(): pass``."""

    def loop(turns: int) -> None:
        for _ in range(turns):
            with enter():
                pass

    return loop


def get_and_put(get: Callable[[], Any], put: Callable[[Any], object]) -> Loop:
    """Time ``put(get())``."""

    def loop(turns: int) -> None:
        for _ in range(turns):
            put(get())

    return loop


def get_and_close(get: Callable[[], Any]) -> Loop:
    """Time ``get().close()``."""

    def loop(turns: int) -> None:
        for _ in range(turns):
            get().close()

    return loop


def get_and_release(get: Callable[[], Any]) -> Loop:
    """Time ``get().release()``."""

    def loop(turns: int) -> None:
        for _ in range(turns):
            get().release()

    return loop


def async_with_block(runner: asyncio.Runner, enter: Callable[[], AbstractAsyncContextManager[Any]]) -> Loop:
    """Time ``async with enter(): pass`` in one task of the runner's loop."""

    async def turns_of(turns: int) -> None:
        for _ in range(turns):
            async with enter():
                pass

    return lambda turns: runner.run(turns_of(turns))


def async_get_and_put(
    runner: asyncio.Runner, get: Callable[[], Awaitable[Any]], put: Callable[[Any], Awaitable[object]]
) -> Loop:
    """Time ``await put(await get())`` in one task of the runner's loop."""

    async def turns_of(turns: int) -> None:
        for _ in range(turns):
            await put(await get())

    return lambda turns: runner.run(turns_of(turns))
