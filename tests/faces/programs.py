"""Programs that fork, run in a fresh interpreter: a test process with threads in it is no place to fork from.

Each is a function; its name is the argument. What goes wrong in a child ends it with a status that is not 0.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import socket
import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import cenote
from cenote import _upkeep
from tests.faces.peers import AsyncSocketConnector, Peer, SocketConnector

warnings.simplefilter("error")
# Python 3.12 warns of forking with threads around, which is what is tested here.
warnings.filterwarnings("ignore", ".*multi-threaded.*fork", DeprecationWarning)


def in_child(work: Callable[[], None]) -> None:
    """Do something in a forked child, and fail with it."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:  # noqa: BLE001 - it goes to the parent by way of the status
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stderr.flush()
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def silent(end: socket.socket) -> bool:
    """Whether not a byte has come, nor the end of the stream."""
    end.setblocking(False)
    try:
        return end.recv(1) is None
    except BlockingIOError:
        return True
    finally:
        end.settimeout(60)


def bye(connection: socket.socket) -> None:
    connection.sendall(b"bye")
    connection.shutdown(socket.SHUT_RDWR)


def idle_and_out() -> None:
    """A child opens its own connections, and its parent's see not a byte, whatever the child does."""
    peer = Peer()
    pool = cenote.Pool(SocketConnector(peer, bye), max_open=3)
    idle, out = pool.acquire(), pool.acquire()
    idle.release()

    def work() -> None:
        assert pool.stats().open_connections == 0
        assert pool.holders() == []
        with pool.connection() as connection:
            assert len(peer.ends) == 3
            connection.sendall(b"c")
            assert peer.ends[2].recv(1) == b"c"
            with suppress(OSError):  # the driver may do what it likes
                out.connection.sendall(b"c")
            with suppress(OSError):
                out.connection.shutdown(socket.SHUT_RDWR)
            out.connection.close()
        out.release()
        assert pool.stats().idle == 1
        assert pool.stats().in_use == 0
        peer.ends[2].close()
        pool.close()
        gc.collect()

    in_child(work)
    assert silent(peer.ends[0])
    assert silent(peer.ends[1])
    out.connection.sendall(b"p")
    assert peer.ends[1].recv(1) == b"p"
    out.release()
    with pool.connection() as connection:
        connection.sendall(b"q")
    assert peer.ends[1].recv(1) == b"q"
    assert pool.stats().idle == 2
    pool.close()
    peer.close()


def dropped_in_the_child() -> None:
    """A lease of the parent that the child drops is no leak, and says goodbye to nobody."""
    peer = Peer()
    pool = cenote.Pool(SocketConnector(peer, bye))
    leases = [pool.acquire()]

    def work() -> None:
        leases.clear()
        gc.collect()
        with pool.connection():
            pass
        assert pool.stats().discarded == 0

    in_child(work)
    assert silent(peer.ends[0])
    leases[0].release()
    pool.close()
    peer.close()


def while_locked() -> None:
    """A lock that another thread of the parent holds does not hang the child, nor its upkeep."""
    peer = Peer()
    pool = cenote.Pool(SocketConnector(peer), ping_after=0, connect_timeout="300ms")
    with pool.connection():
        pass
    locked, unlock = threading.Event(), threading.Event()

    def hold() -> None:
        with pool._core.lock, _upkeep._thread._lock:
            locked.set()
            unlock.wait()

    holder = threading.Thread(target=hold, daemon=True)
    holder.start()
    locked.wait()

    def work() -> None:
        for _ in range(2):  # the second one is cut off by the alarm, which is upkeep's
            with pool.connection():
                pass
        assert pool.stats().dead_on_acquire == 1

    in_child(work)
    unlock.set()
    holder.join()
    pool.close()
    peer.close()


def expired_at_the_fork() -> None:
    """What is due in the parent is not done in the child."""
    peer = Peer()
    now, parent = 1000.0, os.getpid()

    def clock() -> float:  # the parent's own upkeep must not do it first
        upkeep = threading.current_thread().name == "cenote-upkeep"
        return 1000.0 if upkeep and os.getpid() == parent else now

    pool = cenote.Pool(SocketConnector(peer, bye), clock=clock, max_idle_time=60)
    with pool.connection():
        pass
    now += 100

    def work() -> None:
        assert not [thread for thread in threading.enumerate() if thread.name == "cenote-upkeep"]
        _upkeep.wake(pool)
        with pool.connection():
            pass

    in_child(work)
    assert silent(peer.ends[0])
    pool.close()
    peer.close()


def grandchildren() -> None:
    """Every generation has its own."""
    peer = Peer()
    pool = cenote.Pool(SocketConnector(peer))
    with pool.connection():
        pass

    def work() -> None:
        with pool.connection():
            assert len(peer.ends) == 2
        in_child(deeper)
        assert silent(peer.ends[1])

    def deeper() -> None:
        with pool.connection():
            assert len(peer.ends) == 3

    in_child(work)
    assert silent(peer.ends[0])
    pool.close()
    peer.close()


def closed_before() -> None:
    """A pool that was closed is closed in the child."""
    pool = cenote.Pool(SocketConnector(Peer()))
    pool.close()

    def work() -> None:
        try:
            pool.connection()
        except cenote.PoolClosed:
            return
        raise AssertionError("was handed out")

    in_child(work)


def tasks() -> None:
    """An AsyncPool in a child, under a loop of its own."""
    peer = Peer()
    pool = cenote.AsyncPool(AsyncSocketConnector(peer))

    async def use(number: int) -> None:
        async with pool.connection():
            assert len(peer.ends) == number
        assert pool.stats().open_connections == 1

    async def parent() -> None:
        await use(1)
        in_child(lambda: asyncio.new_event_loop().run_until_complete(use(2)))
        assert silent(peer.ends[0])
        await use(1)
        await pool.close()

    asyncio.run(parent())
    peer.close()


_PEER = Peer()
_POOL = cenote.Pool(SocketConnector(_PEER))


def _ask(number: int) -> int:
    with _POOL.connection() as connection:
        connection.sendall(b"x")
        return number * number


def processes() -> None:
    """multiprocessing, by fork and by spawn, with a pool made at import."""
    with _POOL.connection():
        pass
    for method in ("fork", "spawn"):
        context: Any = multiprocessing.get_context(method)
        with context.Pool(2) as workers:
            assert workers.map(_ask, [1, 2, 3]) == [1, 4, 9]
    assert silent(_PEER.ends[0])
    _POOL.close()
    _PEER.close()


if __name__ == "__main__":
    globals()[sys.argv[1]]()
