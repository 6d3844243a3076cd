"""The socket that waits in the kernel: to redis-py it is like any other."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from functools import partial

import pytest
import redis

import cenote.redis
from cenote.redis._socket import TimedSocket, timed
from tests.patience import SAFETY
from tests.servers.redis import RedisServer

SHORT = 0.01


@pytest.fixture
def pair() -> Iterator[tuple[TimedSocket, socket.socket]]:
    here, there = socket.socketpair()
    here.settimeout(SHORT)
    ours = timed(here)
    assert isinstance(ours, TimedSocket)
    with ours, there:
        yield ours, there


def test_it_waits_in_the_kernel_and_not_in_python(pair: tuple[TimedSocket, socket.socket]) -> None:
    ours, _ = pair
    assert ours.gettimeout() == ours.timeout == SHORT
    assert os.get_blocking(ours.fileno())
    assert ours.getblocking()


def test_what_does_not_come_in_time_is_a_timeout(pair: tuple[TimedSocket, socket.socket]) -> None:
    ours, there = pair
    with pytest.raises(TimeoutError, match="timed out"):
        ours.recv(8)
    with pytest.raises(TimeoutError, match="timed out"):
        ours.recv_into(bytearray(8))
    there.sendall(b"late")
    assert ours.recv(8) == b"late"


def test_what_nobody_takes_in_time_is_a_timeout(pair: tuple[TimedSocket, socket.socket]) -> None:
    ours, _ = pair
    with pytest.raises(TimeoutError, match="timed out"):
        ours.sendall(bytes(10_000_000))


def test_without_any_wait_an_empty_socket_would_block(pair: tuple[TimedSocket, socket.socket]) -> None:
    ours, there = pair
    for stop in (partial(ours.settimeout, 0), partial(ours.setblocking, False)):
        stop()
        assert not os.get_blocking(ours.fileno())
        assert ours.gettimeout() == 0
        with pytest.raises(BlockingIOError):
            ours.recv(8)
    ours.settimeout(SHORT)
    with pytest.raises(TimeoutError):
        ours.recv(8)
    ours.setblocking(True)
    assert ours.gettimeout() is None
    there.sendall(b"x")
    assert ours.recv(8) == b"x"


@pytest.mark.parametrize(
    ("seconds", "kernel"),
    [(2.5, (2, 500_000)), (0.9999999, (1, 0)), (1e-9, (0, 1)), (None, (0, 0))],
)
def test_the_kernel_is_told_to_the_microsecond(
    pair: tuple[TimedSocket, socket.socket], seconds: float | None, kernel: tuple[int, int]
) -> None:
    ours, _ = pair
    ours.settimeout(seconds)
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        told = ours.getsockopt(socket.SOL_SOCKET, option, 16)
        tick = 10_000  # the kernel counts in ticks of its own, of 10 ms at most, and rounds up
        micros = int.from_bytes(told[:8], "little") * 1_000_000 + int.from_bytes(told[8:], "little")
        wanted = kernel[0] * 1_000_000 + kernel[1]
        assert wanted <= micros <= wanted + tick
        assert bool(wanted) is bool(micros)


def test_a_negative_time_is_refused(pair: tuple[TimedSocket, socket.socket]) -> None:
    with pytest.raises(ValueError, match="out of range"):
        pair[0].settimeout(-1)


def test_what_is_more_than_a_plain_socket_stays_as_it_is() -> None:
    class Special(socket.socket):
        pass

    with Special() as special:
        assert timed(special) is special


def test_a_connection_of_the_pool_has_it_and_a_late_reply_ends_in_redis_pys_error(
    redis_server: RedisServer,
) -> None:
    with cenote.redis.ConnectionPool.from_url(redis_server.url()) as pool:
        connection = pool.get_connection()
        assert isinstance(connection._sock, TimedSocket)
        assert connection._sock.gettimeout() == connection.socket_timeout
        connection._sock.settimeout(SHORT)
        connection.send_command("BLPOP", "nothing ever comes", 0)
        with pytest.raises(redis.TimeoutError):
            connection.read_response()
        pool.release(connection)
        assert pool.stats().discarded == 1


def test_a_subscriber_may_wait_for_another_time_than_the_sockets(redis_server: RedisServer) -> None:
    with cenote.redis.ConnectionPool.from_url(redis_server.url()) as pool:
        pubsub = redis.Redis(connection_pool=pool).pubsub()  # type: ignore[no-untyped-call]  # redis-py's
        pubsub.subscribe("channel")
        assert pubsub.get_message(timeout=SAFETY)
        assert pubsub.get_message(timeout=SHORT) is None
        assert pubsub.get_message(timeout=0) is None
        assert pubsub.connection._sock.gettimeout() == pubsub.connection.socket_timeout
        pubsub.close()
