"""What several drivers do alike: a transaction as a block, and what concerns loops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any


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


def bury(transport: Any) -> None:
    """Close the socket of a transport whose loop is closed: that loop will never do it.

    To be called once the driver's own way to abort has met the closed loop. uvloop has closed its sockets
    itself. asyncio's transport (the one below TLS, if there is TLS) still holds its own, and would complain
    when it is collected.
    """
    below: Any = getattr(getattr(transport, "_ssl_protocol", None), "_transport", transport)
    held = getattr(below, "_sock", None)
    if held is not None:
        held.close()
        below._sock = None


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the loop that runs in this thread, if one does."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
