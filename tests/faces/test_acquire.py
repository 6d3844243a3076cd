"""Acquiring: who gets what, how long it may take, and what a caller is told who gets nothing."""

from __future__ import annotations

import logging
from typing import Any

import pytest

import cenote
from cenote import ConfigError, ConnectError, PoolClosed, PoolFull, PoolTimeout
from tests.faces.conftest import Make


def test_making_a_pool_opens_nothing(make: Make) -> None:
    world = make(min_idle=2)
    assert world.connector.connecting.count == 0


def test_the_driver_s_own_connection_is_handed_out(make: Make) -> None:
    world = make()
    lease = world.acquire()
    assert lease.connection is world.connector.connections[0]


def test_a_released_connection_is_used_again(make: Make) -> None:
    world = make()
    assert [world.cycle() for _ in range(5)] == [1] * 5
    assert world.stats.connect_count == 1
    assert world.stats.acquire_count == 5


def test_never_more_than_max_open_are_open(make: Make) -> None:
    world = make(max_open=2)
    calls = [world.begin_acquire() for _ in range(5)]
    world.settle()
    for _ in range(5):
        holder = next(call for call in calls if call.done)
        calls.remove(holder)
        world.release(holder.result())
        world.settle()
    assert world.connector.peak == 2


def test_a_timeout_names_the_phase_the_counts_and_the_holders(make: Make) -> None:
    world = make(max_open=1, name="orders")
    world.acquire()
    call = world.begin_acquire(2)
    world.settle()
    world.advance(2)
    error = call.error()
    assert isinstance(error, PoolTimeout)
    assert isinstance(error, TimeoutError)
    assert error.phase == "wait"
    text = str(error)
    assert "pool 'orders': no connection after 2s" in text
    assert "open 1 of 1, in use 1, idle 0, connecting 0" in text
    assert "held by" in text
    assert f"{world.site}:" in text


def test_a_timeout_while_dialing_says_so(make: Make) -> None:
    world = make(max_open=1)
    world.connector.connecting.hold()
    call = world.begin_acquire(2)
    world.settle()
    world.advance(2)
    error = call.error()
    assert isinstance(error, PoolTimeout)
    assert error.phase == "connect"


def test_a_timeout_tells_the_last_connect_error(make: Make) -> None:
    world = make(max_open=1)
    world.connector.connecting.fail(ConnectionRefusedError("nobody listens"))
    call = world.begin_acquire("10ms")
    world.settle()
    world.advance("10ms")
    error = call.error()
    assert isinstance(error, PoolTimeout)
    assert "last connect error: ConnectionRefusedError: nobody listens" in str(error)
    assert isinstance(error.__cause__, ConnectionRefusedError)


def test_a_timeout_while_checking_closes_the_connection_in_doubt(make: Make) -> None:
    world = make("ping", max_open=1)
    world.cycle()
    world.clock.advance(61)
    world.connector.pinging.hold()
    call = world.begin_acquire(2)
    world.connector.pinging.wait_blocked()
    world.clock.advance(2)
    world.connector.pinging.step(TimeoutError("silent"))
    error = call.error()
    assert isinstance(error, PoolTimeout)
    assert error.phase == "check"
    world.settle()
    assert world.connector.connections[0].closed
    assert world.stats.timeout_count == 1
    assert world.stats.in_use == 0


def test_an_expired_deadline_does_not_cost_a_healthy_connection_its_life(make: Make) -> None:
    world = make("ping", max_open=1)
    world.cycle()
    world.clock.advance(61)
    error = world.begin_acquire(0).error()
    assert isinstance(error, PoolTimeout)
    assert error.phase == "check"
    world.settle()
    assert not world.connector.connections[0].closed
    assert world.stats.idle == 1
    assert world.stats.generation == 0
    assert world.stats.timeout_count == 1
    assert world.connector.pinging.count == 0
    assert world.cycle() == 1
    assert world.connector.pinging.count == 1  # it is still as doubtful as it was


def test_who_is_cancelled_during_the_check_leaves_no_half_conversation_behind(make: Make) -> None:
    world = make("ping", max_open=1)
    world.cycle()
    world.clock.advance(61)
    world.connector.pinging.hold()
    call = world.begin_acquire()
    world.connector.pinging.wait_blocked()
    world.cancel_talking(call, world.connector.pinging)
    world.settle()
    world.connector.pinging.release()
    world.settle()
    assert world.connector.connections[0].closed
    assert world.stats.in_use == 0
    assert world.stats.timeout_count == 0
    assert world.cycle() == 2


def test_a_connector_whose_look_raises_is_told_dead(make: Make) -> None:
    world = make("is_alive", max_open=1)
    world.cycle()
    del world.connector.connections[0].alive
    assert world.cycle() == 2
    assert world.stats.dead_on_acquire == 1
    assert world.stats.in_use == 0


def test_each_who_waits_for_what_dies_in_the_hands_before_him_is_given_another(make: Make) -> None:
    world = make("is_alive", max_open=1)
    lease = world.acquire()
    calls = []
    for _ in range(3):  # the first ends the calm, and those after him join the queue the short way
        calls.append(world.begin_acquire())
        world.settle()
    for number, call in enumerate(calls, 2):
        world.clock.advance(1)  # held for so long that it is looked at
        lease.connection.alive = False
        world.release(lease)
        lease = call.result()
        assert lease.connection.number == number
    world.release(lease)
    assert world.stats.dead_on_acquire == 3


def test_a_connect_error_names_the_cause_and_chains_it(make: Make) -> None:
    world = make(max_open=1, timeout=None)
    world.connector.connecting.fail(ConnectionRefusedError("nobody listens"), None)
    call = world.begin_acquire()
    world.settle()
    for _ in range(2):
        world.advance(1)
        world.upkeep()
    error = call.error()
    assert isinstance(error, ConnectError)
    assert "cannot connect: ConnectionRefusedError: nobody listens" in str(error)
    assert isinstance(error.__cause__, ConnectionRefusedError)


def test_a_closed_pool_says_so(make: Make) -> None:
    world = make(name="orders")
    world.close()
    error = world.begin_acquire().error()
    assert isinstance(error, PoolClosed)
    assert str(error) == "pool 'orders' is closed"
    assert world.pool.closed


def test_a_full_queue_names_the_holders(make: Make) -> None:
    world = make(max_open=1, on_full="reject")
    world.acquire()
    error = world.begin_acquire().error()
    assert isinstance(error, PoolFull)
    assert world.site in str(error)


@pytest.mark.parametrize("timeout", ["soon", -1, "5 parsecs"])
def test_a_bad_timeout_is_refused_before_anything_is_opened(make: Make, timeout: Any) -> None:
    world = make()
    with pytest.raises(ConfigError, match="timeout"):
        world.pool.connection(timeout) if world.name.endswith("threads") else world.run(
            world.pool.acquire(timeout)
        )
    assert world.connector.connecting.count == 0
    assert world.stats.in_use == 0


def test_timeout_none_is_the_pool_s_own(make: Make) -> None:
    world = make(max_open=1, timeout=3)
    world.acquire()
    call = world.begin_acquire(None)
    world.settle()
    world.advance(2)
    assert not call.done
    world.advance(1)
    assert isinstance(call.error(), PoolTimeout)


def test_holders_are_listed_longest_first(make: Make) -> None:
    world = make(max_open=2)
    world.acquire()
    world.clock.advance(5)
    world.acquire()
    world.clock.advance(1)
    holders = world.pool.holders()
    assert [round(holder.held) for holder in holders] == [6, 1]
    assert all(world.site in holder.site for holder in holders)
    assert [holder.connection for holder in holders] == [1, 2]


def test_a_long_hold_is_logged_once(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    world = make(max_open=1, warn_held="30s")
    lease = world.acquire()
    with caplog.at_level(logging.WARNING, "cenote"):
        world.clock.advance(29)
        world.upkeep()
        assert caplog.messages == []
        world.clock.advance(16)
        world.upkeep()
        world.clock.advance(31)
        world.upkeep()
        assert len(caplog.messages) == 1
        assert world.site in caplog.messages[0]
        assert "is held for 45.0 s" in caplog.messages[0]
        world.release(lease)
        world.acquire()
        world.clock.advance(45)
        world.upkeep()
        assert len(caplog.messages) == 2


def test_ping_asks_the_server(make: Make) -> None:
    world = make("ping")
    world.begin_ping().result()
    assert world.connector.pinging.count == 1
    assert world.stats.in_use == 0
    assert world.stats.idle == 1


def test_ping_reports_a_dead_server_and_keeps_nothing_of_it(make: Make) -> None:
    world = make("ping")
    world.connector.pinging.fail(ConnectionResetError("gone"))
    error = world.begin_ping().error()
    assert isinstance(error, ConnectError)
    assert "no answer to a ping: ConnectionResetError: gone" in str(error)
    world.settle()
    assert world.stats.idle == 0
    assert world.stats.in_use == 0


def test_ping_needs_no_hook(make: Make) -> None:
    world = make()
    world.begin_ping().result()
    assert world.stats.connect_count == 1


def test_ping_works_without_any_timeout(make: Make) -> None:
    world = make("ping", timeout=None)
    world.begin_ping().result()
    assert world.stats.idle == 1


def test_a_surrounding_deadline_bounds_the_wait(make: Make) -> None:
    world = make(max_open=1, timeout=None)
    world.acquire()
    call = world.begin_acquire_within(2000)
    world.settle()
    assert not call.done
    world.advance(3000)
    assert isinstance(call.error(), PoolTimeout)


def test_the_nearer_deadline_wins(make: Make) -> None:
    world = make(max_open=1)
    world.acquire()
    call = world.begin_acquire_within(60_000, 2000)
    world.settle()
    world.advance(3000)
    assert isinstance(call.error(), PoolTimeout)


def test_an_inner_block_cannot_extend_an_outer_one() -> None:
    with cenote.timeout(5):
        outer = cenote._deadline.current_deadline()
        with cenote.timeout("1h"):
            assert cenote._deadline.current_deadline() == outer
        with cenote.timeout("1ms"):
            assert cenote._deadline.current_deadline() < outer
        assert cenote._deadline.current_deadline() == outer
    assert cenote._deadline.current_deadline() == float("inf")


def test_a_deadline_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ConfigError, match="timeout"):
        cenote.timeout("soon")


def test_an_address_that_its_driver_reads_only_when_it_dials_is_a_config_error_at_once(make: Make) -> None:
    world = make(max_open=2)
    world.connector.connecting.fail(ConfigError("port: must be a number"), None)
    error = world.begin_acquire().error()
    assert isinstance(error, ConfigError)
    assert "port: must be a number" in str(error)
    assert world.stats.connect_errors == 1
