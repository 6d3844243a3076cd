"""What several drivers do alike: a transaction as a block."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress


@contextmanager
def transaction(
    begin: Callable[[], object], commit: Callable[[], object], rollback: Callable[[], object]
) -> Iterator[None]:
    """Commit what the block did, or roll it back when the block or the commit raised."""
    begin()
    try:
        yield
        commit()
    except BaseException:
        # Its reason matters more than what the rollback has to say; the pool looks at the connection anyway.
        with suppress(Exception):
            rollback()
        raise


@asynccontextmanager
async def async_transaction(
    begin: Callable[[], Awaitable[object]],
    commit: Callable[[], Awaitable[object]],
    rollback: Callable[[], Awaitable[object]],
) -> AsyncIterator[None]:
    """Do the same, awaited."""
    await begin()
    try:
        yield
        await commit()
    except BaseException:
        with suppress(Exception):
            await rollback()
        raise
