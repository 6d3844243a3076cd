"""Where a run takes place: the client on one core, the servers on the others, as on a machine of their own.

Left to the scheduler, a run on few cores measures the scheduler. Servers and client take the cores from each
other, and a thread that is woken on an idle core comes 18 µs later than one that is woken on the same core
(`perf bench sched pipe` on the machine of the README's figures: 37 µs there and back, on one core 1.9). See
docs/decisions/0020-the-benchmark-s-cores.md for how the figures differ.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

left_to_servers: set[int] = set()
"""The cores that the client leaves to them; none if all share them all."""


def keep_apart() -> None:
    """Bind this thread, and those it starts, to one core; leave the others, if there are any, to servers."""
    if not hasattr(os, "sched_setaffinity"):  # Linux alone has it
        return
    cores = os.sched_getaffinity(0)
    if len(cores) > 1:
        client = max(cores)
        left_to_servers.update(cores - {client})
        os.sched_setaffinity(0, {client})


def adopt(servers: set[int]) -> None:
    """Keep to what was decided in the process that started this one, which was bound then."""
    left_to_servers.update(servers)


@contextmanager
def of_the_servers() -> Iterator[None]:
    """Start a server inside: its processes inherit where they may run."""
    if not left_to_servers:
        yield
        return
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, left_to_servers)
    try:
        yield
    finally:
        os.sched_setaffinity(0, own)


def described() -> str:
    """Say where things run."""
    return (
        "the client on one, the servers on the others" if left_to_servers else "shared by client and servers"
    )
