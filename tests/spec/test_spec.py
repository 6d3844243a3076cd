"""Play every scenario of this folder on the core alone, on threads and on asyncio.

A scenario says what it shows (`says`), the pool's `options`, the connector's optional `hooks`, which of its
operations are held from the start (`hold`), and the `steps`, each of them a mapping with one key:

- an actor's name: ``acquire [timeout]``, ``release``, ``discard``, ``cancel``, ``close [timeout]`` begin
  something; ``has N``, ``waits``, ``done``, ``raises ERROR [phase]`` say what became of it;
- ``let``, ``fail``, ``hold``, ``free``, ``refuse``, ``accept``: remote control of one of the connector's
  operations (one blocked call, one blocked call, all, all, all, all);
- ``kill``, ``break``, ``begin``: connection N dies, is broken, has a transaction open;
- ``advance``, ``upkeep`` (turned so many times), ``resize``: what happens to the pool;
- ``stats``, ``server`` (what the connector counts), ``events`` (all since the last look, in any order).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from cenote import PoolTimeout
from tests.faces.worlds import ALL, World
from tests.spec.core_world import CoreWorld

FILES = sorted(Path(__file__).parent.glob("*.yaml"))
WORLDS: list[type[Any]] = [CoreWorld, *ALL]


class Play:
    """One scenario on one world."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.calls: dict[str, Any] = {}

    def step(self, step: dict[str, Any]) -> None:
        """Do or check one step."""
        ((key, value),) = step.items()
        self.world.settle()
        known = getattr(self, f"on_{key}", None)
        if known is not None:
            known(value)
        else:
            verb, *words = value.split()
            getattr(self, f"actor_{verb}")(key, *words)
        self.world.settle()

    # ── actors ──────────────────────────────────────────────────────────────────────────────────

    def actor_acquire(self, actor: str, timeout: str | None = None) -> None:
        self.calls[actor] = self.world.begin_acquire(timeout)

    def actor_release(self, actor: str) -> None:
        self.calls[actor] = self.world.begin_release(self.calls[actor].result())

    def actor_discard(self, actor: str) -> None:
        self.world.discard(self.calls[actor].result())

    def actor_cancel(self, actor: str) -> None:
        self.calls[actor].cancel()

    def actor_close(self, actor: str, timeout: str = "5s") -> None:
        self.calls[actor] = self.world.begin_close(timeout)

    def actor_has(self, actor: str, number: str) -> None:
        assert self.calls[actor].done, f"{actor} still waits"
        assert self.calls[actor].result().connection.number == int(number)

    def actor_waits(self, actor: str) -> None:
        assert not self.calls[actor].done, f"{actor} does not wait"

    def actor_done(self, actor: str) -> None:
        assert self.calls[actor].done, f"{actor} still waits"
        self.calls[actor].result()

    def actor_raises(self, actor: str, name: str, phase: str | None = None) -> None:
        assert self.calls[actor].done, f"{actor} still waits"
        error = self.calls[actor].error()
        assert type(error).__name__ == name, repr(error)
        if phase is not None:
            assert isinstance(error, PoolTimeout)
            assert error.phase == phase

    # ── the connector ───────────────────────────────────────────────────────────────────────────

    def on_let(self, operation: str) -> None:
        getattr(self.world.connector, operation).step()

    def on_fail(self, operation: str) -> None:
        getattr(self.world.connector, operation).step(ConnectionRefusedError("as told"))

    def on_hold(self, operation: str) -> None:
        getattr(self.world.connector, operation).hold()

    def on_free(self, operation: str) -> None:
        getattr(self.world.connector, operation).release()

    def on_refuse(self, operation: str) -> None:
        getattr(self.world.connector, operation).fail(ConnectionRefusedError("as told"), None)

    def on_accept(self, operation: str) -> None:
        getattr(self.world.connector, operation).succeed()

    def on_kill(self, number: int) -> None:
        self.world.connector.connections[number - 1].alive = False

    def on_break(self, number: int) -> None:
        self.world.connector.connections[number - 1].broken = True

    def on_begin(self, number: int) -> None:
        self.world.connector.connections[number - 1].in_transaction = True

    # ── the pool ────────────────────────────────────────────────────────────────────────────────

    def on_advance(self, duration: str) -> None:
        self.world.advance(duration)

    def on_upkeep(self, turns: int) -> None:
        for _ in range(turns):
            self.world.upkeep()

    def on_resize(self, options: dict[str, Any]) -> None:
        world = self.world
        if isinstance(world, CoreWorld):
            world.resize(**options)
        else:
            world.inside(lambda: world.pool.resize(**options))

    def on_stats(self, expected: dict[str, int]) -> None:
        stats = self.world.stats
        assert {name: getattr(stats, name) for name in expected} == expected

    def on_server(self, expected: dict[str, int]) -> None:
        connector = self.world.connector
        assert {name: getattr(connector, name) for name in expected} == expected

    def on_events(self, expected: list[str]) -> None:
        if isinstance(self.world, World) and not self.world.listens:
            return
        events = self.world.log.events
        self.world.log.clear()
        found = [event.kind + (f" {event.reason}" if event.reason else "") for event in events]
        assert sorted(found) == sorted(expected)


@contextmanager
def stage(world: type[Any], scenario: dict[str, Any]) -> Iterator[Any]:
    """Have the world that a scenario asks for, and bring it to its end."""
    made = world(*scenario.get("hooks", []), **scenario.get("options", {}))
    for operation in scenario.get("hold", []):
        getattr(made.connector, operation).hold()
    try:
        yield made
    finally:
        made.end()


@pytest.mark.filterwarnings("ignore:pool .* rolled back:RuntimeWarning")
@pytest.mark.parametrize("world", WORLDS, ids=[world.name for world in WORLDS])
@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_the_pool_behaves_as_written(file: Path, world: type[Any]) -> None:
    scenario = yaml.safe_load(file.read_text())
    with stage(world, scenario) as made:
        play = Play(made)
        for number, step in enumerate(scenario["steps"], 1):
            try:
                play.step(step)
            except AssertionError as error:
                error.add_note(f"{file.name}, step {number}: {step}")
                raise


def test_there_are_scenarios_and_each_says_what_it_shows() -> None:
    assert len(FILES) >= 25
    assert all(yaml.safe_load(file.read_text())["says"] for file in FILES)
