"""Closing, in all its phases; and what comes back after it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from cenote import ConfigError, PoolClosed
from tests.faces.conftest import Make


def test_idle_connections_are_closed_at_once(make: Make) -> None:
    world = make(max_open=2)
    one, two = world.acquire(), world.acquire()
    world.release(one, two)
    world.close()
    assert world.connector.open == 0
    assert world.stats.open_connections == 0


def test_close_waits_for_a_goodbye(make: Make) -> None:
    world = make()
    world.cycle()
    world.connector.closing.hold()
    call = world.begin_close()
    world.settle()
    assert not call.done
    world.connector.closing.release()
    call.result()


def test_waiters_are_refused_and_leases_closed_when_they_come_back(make: Make) -> None:
    world = make(max_open=1)
    lease = world.acquire()
    waiting = world.begin_acquire()
    world.settle()
    closing = world.begin_close()
    assert isinstance(waiting.error(), PoolClosed)
    world.settle()
    assert not closing.done
    world.release(lease)
    closing.result()
    assert world.connector.open == 0


def test_closing_twice_is_harmless(make: Make) -> None:
    world = make()
    world.cycle()
    world.close()
    world.close()


def test_two_may_wait_for_the_same_close(make: Make) -> None:
    world = make()
    lease = world.acquire()
    calls = [world.begin_close(), world.begin_close()]
    world.settle()
    world.release(lease)
    assert [call.result() for call in calls] == [None, None]


def test_what_does_not_come_back_in_time_is_cut_off(make: Make) -> None:
    world = make("terminate")
    lease = world.acquire()
    call = world.begin_close(3)
    world.settle()
    world.advance(3)
    call.result()
    assert "terminate" in lease.connection.log
    assert world.stats.open_connections == 0


def test_what_was_cut_off_is_closed_when_it_comes_back(make: Make) -> None:
    world = make()
    kept, thrown = world.acquire(), world.acquire()
    connections = [kept.connection, thrown.connection]
    world.close(0)
    world.release(kept)
    world.discard(thrown)
    world.settle()
    assert [connection.log for connection in connections] == [["close"], ["close"]]
    assert world.stats.open_connections == 0


def test_a_failing_goodbye_frees_the_place_all_the_same(make: Make) -> None:
    world = make("terminate", max_open=1)
    world.connector.closing.fail(ConnectionResetError("gone"))
    lease = world.acquire()
    world.discard(lease)
    assert world.cycle() == 2
    world.settle()
    assert "terminate" in world.connector.connections[0].log


def test_a_bad_closing_time_is_refused_before_anything_is_closed(make: Make) -> None:
    world = make()
    with pytest.raises(ConfigError, match="timeout"):
        world.close("soon")
    assert not world.pool.closed


def test_a_process_says_goodbye_at_its_end() -> None:
    program = """
import socket, threading
import cenote

left, right = socket.socketpair()

class Connector:
    def connect(self, timeout): return left
    def fileno(self, connection): return connection.fileno()
    def close(self, connection):
        connection.sendall(b"bye")
        connection.close()

pool = cenote.Pool(Connector())
with pool.connection():
    pass

import atexit, sys
def check():  # runs after the pool's own, which registered later
    right.settimeout(60)
    sys.stdout.write(repr(right.recv(10)))
    right.close()
# The pool's module is imported above; what is registered first runs last.
"""
    program = "import atexit\natexit.register(lambda: check())\n" + program
    done = run_python(program)
    assert done.stdout == "b'bye'"


def run_python(program: str) -> Any:
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=110)
    assert done.stderr == ""
    assert done.returncode == 0
    return done
