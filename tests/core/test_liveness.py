"""Connections that died: buried, replaced, and their siblings doubted."""

from __future__ import annotations

from cenote._core import State
from tests.core.harness import Face, RacedShelf


def test_a_dead_connection_is_replaced_not_reported() -> None:
    face = Face()
    [dead] = face.fill(1)
    caller = face.ask(suspicious=True)
    face.run(face.core.bury, caller)
    assert dead.state is State.CLOSING
    assert caller.refusal is None
    face.dialed()
    assert caller.got is not dead
    assert face.stats().dead_on_acquire == 1


def test_after_one_death_a_caller_is_given_another_from_the_pool() -> None:
    face = Face()
    sibling, _ = face.fill(2)
    caller = face.ask(suspicious=True)
    face.run(face.core.bury, caller)
    assert caller.got is sibling
    assert face.core.needs_ping(sibling)
    assert not caller.fresh


def test_after_two_deaths_the_suspects_below_are_closed_and_a_new_one_is_dialed() -> None:
    face = Face()
    face.fill(4)
    caller = face.ask(suspicious=True)
    face.run(face.core.bury, caller)
    face.run(face.core.bury, caller)
    assert caller.slot is None
    assert len(face.goodbyes) == 4
    assert len(face.dials) == 1


def test_after_two_deaths_those_that_were_proven_alive_stay() -> None:
    face = Face()
    alive, *_ = face.fill(3)
    caller = face.ask(suspicious=True)
    face.run(face.core.bury, caller)
    alive.generation = face.core.generation
    face.run(face.core.bury, caller)
    assert caller.got is alive


def test_a_suspect_that_another_thread_takes_meanwhile_is_left_to_it() -> None:
    face = Face()
    taken, _, _ = face.fill(3)
    caller = face.ask(suspicious=True)
    face.run(face.core.bury, caller)
    face.lane().idle = RacedShelf(face.lane().idle)
    face.run(face.core.bury, caller)
    assert taken.state is State.OPEN


def test_one_death_raises_the_generation_once_for_all_its_siblings() -> None:
    face = Face()
    slots = [face.acquire() for _ in range(3)]
    for slot in slots:
        face.discard(slot, lost=True)
    assert face.core.generation == 1
    assert face.stats().generation == 1


def test_a_plain_discard_raises_no_doubt() -> None:
    face = Face()
    face.discard(face.acquire())
    assert face.core.generation == 0
    assert face.stats().discarded == 1


def test_a_connection_dialed_after_the_death_is_not_doubted() -> None:
    face = Face()
    face.discard(face.acquire(), lost=True)
    [new] = face.fill(1)
    assert not face.core.needs_ping(new)
    assert face.core.take(face.lane(), face.now) is new


def test_a_dial_begun_before_the_death_is_looked_at_although_it_is_new() -> None:
    face = Face()
    slot = face.acquire()
    caller = face.ask()
    face.discard(slot, lost=True)
    face.dialed()
    assert not caller.fresh


def test_a_death_in_a_full_pool_lets_its_caller_wait_for_another() -> None:
    face = Face(max_open=2)
    face.fill(2)
    caller = face.ask(suspicious=True)
    other = face.acquire()
    face.run(face.core.bury, caller)
    assert (caller.slot, face.dials) == (None, [])
    face.release(other)
    assert caller.got is other


def test_the_place_of_the_dead_is_free_only_after_its_goodbye() -> None:
    face = Face(max_open=1)
    face.fill(1)
    caller = face.ask(suspicious=True)
    face.run(face.core.bury, caller)
    assert face.dials == []
    face.farewelled()
    face.dialed()
    assert caller.slot is not None


def test_a_death_in_a_pool_closed_meanwhile_refuses_the_caller() -> None:
    face = Face()
    face.fill(1)
    caller = face.ask(suspicious=True)
    face.run(face.core.shut, None)
    face.run(face.core.cut_off)
    face.run(face.core.bury, caller)
    assert caller.refusal == "closed"
    assert face.stats().closing == 0


def test_a_check_that_took_its_caller_too_long_closes_the_connection_and_doubts_no_other() -> None:
    face = Face()
    [slot] = face.fill(1)
    caller = face.ask(suspicious=True)
    face.run(face.core.give_up_check, caller)
    assert slot.state is State.CLOSING
    assert caller.slot is None
    assert face.stats().timeout_count == 1
    assert face.core.generation == 0


def test_a_check_without_time_to_ask_keeps_the_connection_as_cold_as_it_was() -> None:
    face = Face(ping_after=60)
    first, second = face.fill(2)
    face.advance(70.0)
    caller = face.ask()
    face.run(face.core.give_up_check, caller, asked=False)
    assert face.idle() == [first, second]
    assert face.core.needs_ping(face.ask().got)
    assert face.stats().timeout_count == 1


def test_a_suspicious_hit_is_not_taken_for_one_that_rested_long_ago() -> None:
    face = Face(ping_after=60)
    face.fill(1)
    face.advance(70.0)
    face.release(face.lend(face.ask()))
    caller = face.ask(suspicious=True)
    assert not face.core.needs_ping(caller.got)


def test_an_idle_connection_whose_peer_is_seen_to_go_leaves_at_once() -> None:
    face = Face(eventful=True)
    lost, other = face.fill(2)
    face.run(face.core.lost, lost)
    assert face.idle() == [other]
    assert face.goodbyes == [lost]
    assert face.core.needs_ping(other)
    assert ("closing", "lost") in face.told()
    assert face.stats().dead_on_keepalive == 1


def test_a_connection_in_use_is_left_to_its_holder_when_its_peer_goes() -> None:
    face = Face()
    held = face.acquire()
    face.run(face.core.lost, held)
    assert held.state is State.OPEN
    face.discard(held, lost=True)
    assert face.goodbyes == [held]


def test_what_is_lost_is_replaced_for_min_idle() -> None:
    face = Face(min_idle=1)
    [lost] = face.fill(1)
    face.run(face.core.lost, lost)
    face.dialed()
    assert len(face.idle()) == 1
