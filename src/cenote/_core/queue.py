"""The callers who wait, in the order in which they came."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import takewhile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .state import Waiter


class Queue:
    """The waiters of one lane, the oldest first. All methods need the lock.

    To join, and to be served, is one operation of a deque. Whoever leaves out of turn is only marked: that
    costs the same in a queue of any length. He is passed over when his turn comes, or swept out when those
    who left are more than those who wait. So the line is never longer than twice the queue, and there is
    always somebody who waits at its head: it is empty if and only if nobody does.
    """

    __slots__ = ("left", "line")

    def __init__(self) -> None:
        """Begin with nobody."""
        self.line: deque[Waiter] = deque()  # those who left included
        self.left: int = 0  # how many of them

    def __len__(self) -> int:
        return len(self.line) - self.left

    def __iter__(self) -> Iterator[Waiter]:
        return (waiter for waiter in self.line if waiter.queued)

    def __reversed__(self) -> Iterator[Waiter]:
        return (waiter for waiter in reversed(self.line) if waiter.queued)

    def first(self) -> Waiter:
        """Say whose turn it is; there is somebody."""
        return self.line[0]

    def join(self, waiter: Waiter) -> None:
        """Add one at the end, who has not been in the queue before."""
        waiter.queued = True
        self.line.append(waiter)

    def join_ahead(self, waiter: Waiter) -> None:
        """Add one who was served, and has to be served again, before all who came after him."""
        waiter.queued = True
        older = takewhile(lambda one: one.ticket <= waiter.ticket, self.line)
        self.line.insert(sum(1 for _ in older), waiter)

    def pop(self) -> Waiter:
        """Take out the one whose turn it is; there is somebody."""
        waiter = self.line.popleft()
        waiter.queued = False
        if self.left:
            self.tidy()
        return waiter

    def leave(self, waiter: Waiter) -> None:
        """Take out one who is in the queue, wherever he stands."""
        waiter.queued = False
        self.left += 1
        self.tidy()

    def clear(self) -> None:
        """Take out all."""
        while self.line:
            self.pop()

    def tidy(self) -> None:
        """Restore the rules about the line after a change of it."""
        line = self.line
        while line and not line[0].queued:
            line.popleft()
            self.left -= 1
        if 2 * self.left > len(line):
            self.line = deque(self)
            self.left = 0
