"""What cannot be done is refused before anything is opened: the error names option, value and remedy."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

import cenote
from cenote.sql.dialect import Dialect
from cenote.testing import AsyncScriptedConnector, ScriptedConnector
from tests.sql.fixtures import worlds
from tests.sql.scripted import Scripted
from tests.sql.worlds import MAIN, World, done

world = worlds(MAIN)  # what is asked here is no driver's matter
URL = "postgresql://app:app-secret@127.0.0.1:1/app"
OPENERS = pytest.mark.parametrize("opener", [cenote.open, cenote.open_async])


def refused(opener: Any, target: Any, **options: Any) -> str:
    """Open in vain, and return what the error says; it must show no password."""
    with pytest.raises(cenote.ConfigError) as caught:
        opener(target, **options)
    assert isinstance(caught.value, ValueError)
    assert "secret" not in str(caught.value)
    return str(caught.value)


# ── how statements are bound and prepared ────────────────────────────────────────────────────────


class Pasting(Dialect):
    """A driver that can only paste."""

    binds = "client"
    prepares = False


class Binding(Dialect):
    """A driver that can only bind."""

    binds = "server"


class Free(Dialect):
    """A driver that does either."""

    binds = "both"


COMBINATIONS = [
    (Binding, {"interpolate": True}, "interpolate: Binding has the server bind parameters.*; leave it out"),
    (Pasting, {"interpolate": False}, "interpolate: Pasting can only paste parameters itself; leave it out"),
    (Pasting, {"prepare": True}, "prepare: Pasting cannot prepare on the server; leave it out"),
    (Free, {"interpolate": True, "prepare": True}, "ask for interpolate=True or prepare=True"),
    (Free, {"interpolate": True, "prepare": False}, None),
    (Free, {"interpolate": False, "prepare": True}, None),
    (Free, {"interpolate": True}, None),
    (Free, {"interpolate": False}, None),
    (Binding, {"interpolate": False, "prepare": True}, None),
    (Binding, {"prepare": False}, None),
    (Pasting, {"interpolate": True, "prepare": False}, None),
    (Pasting, {}, None),
]


@OPENERS
@pytest.mark.parametrize(("dialect", "asked", "why"), COMBINATIONS)
def test_a_handle_refuses_what_its_driver_cannot_do(
    opener: Any, dialect: type[Dialect], asked: dict[str, bool], why: str | None
) -> None:
    connector: Any = (ScriptedConnector if opener is cenote.open else AsyncScriptedConnector)()
    connector.dialect = dialect
    if why is None:
        assert opener(connector, **asked).stats().connect_count == 0
    else:
        with pytest.raises(cenote.ConfigError, match=why):
            opener(connector, **asked)
    assert connector.connections == []


async def test_a_statement_refuses_what_its_driver_cannot_do(world: World) -> None:
    db = world.open()
    if db._handle.dialect.binds == "both":
        assert await done(db.query_row(world.sql("select ?"), "x", interpolate=True)) == ("x",)
        return
    wrong = db._handle.dialect.binds == "server"
    for ask in (db.query, db.query_row, db.exec):
        with pytest.raises(cenote.ConfigError, match=r"interpolate: .*leave it out"):
            await done(ask("select 1", interpolate=wrong))
    assert db.stats().connect_count == 0


@OPENERS
def test_a_url_may_say_how_to_bind_and_prepare(opener: Any) -> None:
    db = opener(f"{URL}?prepare=off&interpolate=on&application_name=shop&max_open=3")
    assert (db._handle.prepare, db._handle.interpolate) == (False, True)
    assert db.options.max_open == 3
    assert "application_name=shop" in repr(db.pool._connector)
    assert "prepare" not in repr(db.pool._connector)


async def test_what_the_url_says_reaches_the_driver(scripted: Scripted) -> None:
    db = scripted.open()
    db._handle.prepare, db._handle.interpolate = False, None
    await done(db.prepare("select").query_row())
    assert scripted.dialect.calls[-1].prepare is False


@OPENERS
@pytest.mark.parametrize(
    ("query", "options", "why"),
    [
        ("interpolate=maybe", {}, "interpolate: must be on or off, got 'maybe'; write interpolate=on"),
        ("prepare=2", {}, "prepare: must be on or off, got '2'; write prepare=on"),
        ("prepare=", {}, "prepare: must be on or off, got ''; write prepare=on"),
        ("prepare=off&prepare=on", {}, "prepare: given twice in "),
        ("prepare=off", {"prepare": False}, "prepare: given in the URL and as an argument; keep one"),
        ("interpolate=on", {"interpolate": True}, "interpolate: given in the URL and as an argument"),
        ("prepare=on&interpolate=on", {}, "ask for interpolate=True or prepare=True"),
    ],
)
def test_a_url_that_says_it_wrongly_is_refused(
    opener: Any, query: str, options: dict[str, bool], why: str
) -> None:
    assert why in refused(opener, f"{URL}?{query}", **options)


@OPENERS
def test_options_may_carry_such_a_url(opener: Any) -> None:
    options = cenote.Options.from_url(f"{URL}?prepare=off", max_open=2)
    db = opener(options)
    assert db._handle.prepare is False
    assert db.options.max_open == 2
    assert "prepare" not in (db.options.dsn or "")
    assert "keep one" in refused(opener, options, prepare=True)


# ── what is opened ───────────────────────────────────────────────────────────────────────────────


@OPENERS
def test_a_connector_without_a_dialect_is_refused_with_the_remedy(opener: Any) -> None:
    connector = ScriptedConnector() if opener is cenote.open else AsyncScriptedConnector()
    said = refused(opener, connector)
    assert "target: " in said
    assert "has no dialect()" in said
    assert "use cenote.Pool" in said
    assert connector.connections == []


@OPENERS
@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("", "dsn: must be a URL as text, got empty text; write one like"),
        ("app.db", "is not a URL; write scheme://user@host/database"),
        ("postgers://app:app-secret@db/app", "did you mean postgresql://?"),
        ("postgresql://app:app-secret@db:99999/app", "cannot read host and port"),
        (17, "target: must be a URL, a Connector or a callable"),
        (None, "target: must be a URL, a Connector or a callable"),
        (cenote, "a module is not enough to connect; write cenote.dbapi(cenote"),
        (cenote.Options(), "Options: have no dsn"),
    ],
)
def test_a_target_that_makes_no_sense_is_refused(opener: Any, target: Any, why: str) -> None:
    assert why in refused(opener, target)


def test_a_driver_of_the_other_world_is_refused_with_the_way_there() -> None:
    assert "is a driver for cenote.AsyncPool" in refused(cenote.open, "postgresql+asyncpg://app@db/app")
    assert "is a driver for cenote.Pool" in refused(cenote.open_async, "postgresql+psycopg2://app@db/app")


@OPENERS
@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"max_open": 0}, "max_open: "),
        ({"max_open": "many"}, "max_open: "),
        ({"timeout": "soon"}, "timeout: "),
        ({"max_lifetime": -1}, "max_lifetime: "),
        ({"on_full": "panic"}, "on_full: "),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_by_its_name_and_value(
    opener: Any, options: dict[str, Any], why: str
) -> None:
    said = refused(opener, URL, **options)
    assert said.startswith(why)
    assert repr(next(iter(options.values()))) in said
    assert "write" in said or "must be" in said


@OPENERS
def test_an_option_that_does_not_exist_suggests_the_nearest(opener: Any) -> None:
    with pytest.raises(TypeError, match="max_open"):
        opener(URL, max_opened=3)


# ── what is asked of a handle ────────────────────────────────────────────────────────────────────


async def test_an_isolation_that_does_not_exist_is_refused(world: World) -> None:
    db = world.open()
    for level in ("chaos", "", "SERIALIZABLE", "read  committed", 4):
        with pytest.raises(cenote.ConfigError, match=f"isolation: must be one of .*, got {level!r}"):
            await done(db.begin(level))
    assert db.stats().in_use == 0


async def test_sqlite_has_one_isolation(tmp_path: Path) -> None:
    with (
        cenote.open(f"sqlite:///{tmp_path}/app.db") as db,
        pytest.raises(cenote.ConfigError, match="must be one of serializable, got 'read committed'"),
    ):
        db.begin("read committed")


async def test_a_timeout_that_is_no_duration_is_refused(world: World) -> None:
    db = world.open()
    for timeout in (-1, "soon", "5", float("nan"), True):
        for ask in (
            partial(db.query, "select 1"),
            partial(db.query_row, "select 1"),
            partial(db.exec, "select 1"),
            partial(db.exec_many, "select 1", [()]),
            db.begin,
            db.conn,
            db.ping,
        ):
            with pytest.raises(cenote.ConfigError, match="timeout: "):
                await done(ask(timeout=timeout))
    assert db.stats().connect_count == 0
