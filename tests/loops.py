"""Loops that run beside a test, and how they end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from tests.patience import SAFETY


def end(loop: asyncio.AbstractEventLoop) -> None:
    """Close a loop that was stopped, as `asyncio.run` does: what was just begun on it comes to an end."""
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.get_loop()


class LoopThread:
    """A loop in a thread of its own."""

    def __init__(self, new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
        self.loop = new_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def begin(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self.begin(coroutine).result(SAFETY)

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(SAFETY)

    def close(self) -> None:
        if self.thread.is_alive():
            self.stop()
        if not self.loop.is_closed():
            end(self.loop)
