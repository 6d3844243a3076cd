"""Values pass through untouched, in both directions: what a driver makes of them is the driver's matter."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from tests.sql.worlds import INSERT, Database, World, done, each, using

EVERYWHERE: list[tuple[str, Any]] = [
    ("varchar(80)", "plain"),
    ("varchar(80)", ""),
    ("varchar(80)", "naïve 漢字 🐟 'quoted' \"double\" back\\slash %s %% ? :name $1"),
    ("varchar(80)", "line\nbreak\ttab"),
    ("integer", 0),
    ("integer", -1),
    ("bigint", 2**63 - 1),
    ("bigint", -(2**63)),
    ("double precision", 0.1),
    ("double precision", -1e300),
    ("{blob}", b""),
    ("{blob}", bytes(range(256))),
]
POSTGRESQL: list[tuple[str, Any]] = [
    ("boolean", True),
    ("boolean", False),
    ("numeric", Decimal("12345678901234567890.123456789")),
    ("numeric", Decimal("NaN")),
    ("date", dt.date(1973, 11, 29)),
    ("time", dt.time(21, 33, 9, 123456)),
    ("timestamp", dt.datetime(1973, 11, 29, 21, 33, 9, 123456)),  # noqa: DTZ001 - the type has no zone
    ("timestamptz", dt.datetime(1973, 11, 29, 21, 33, 9, tzinfo=dt.UTC)),
    ("interval", dt.timedelta(days=3, seconds=7)),
    ("integer[]", [42, 128, 707]),
]
MYSQL: list[tuple[str, Any]] = [
    ("numeric(30, 9)", Decimal("12345678901234567890.123456789")),
    ("date", dt.date(1973, 11, 29)),
    ("year", 1973),
    ("time", -dt.timedelta(hours=10, seconds=1)),
    ("time", -dt.timedelta(days=30, minutes=3)),
    ("time(6)", -dt.timedelta(microseconds=1)),
    ("time", dt.timedelta()),
    ("time(6)", dt.timedelta(hours=21, minutes=33, seconds=9, microseconds=123456)),
    ("datetime(6)", dt.datetime(1973, 11, 29, 21, 33, 9, 123456)),  # noqa: DTZ001 - the type has no zone
    ("bigint unsigned", 2**64 - 1),
]
PSYCOPG: list[tuple[str, Any]] = [
    ("uuid", uuid.UUID("12345678-1234-5678-1234-567812345678")),
    ("jsonb", {"a": [1, None, "x"]}),
]
KEYS: dict[Database, str] = {
    "sqlite": "integer",
    "postgresql": "serial",
    "mysql": "integer auto_increment",
}
ABSENT = "integer", "bigint", "double precision", "varchar(80)", "{blob}"


def values_of(world: World) -> list[tuple[str, Any]]:
    values = EVERYWHERE + {"postgresql": POSTGRESQL, "mysql": MYSQL}.get(world.database, [])
    return values + (PSYCOPG if world.kind.name in ("psycopg", "async psycopg") else [])


def wrapped(value: Any) -> Any:
    """Have psycopg know that it is JSON."""
    return Jsonb(value) if isinstance(value, dict) else value


async def test_a_value_comes_back_as_it_went(world: World) -> None:
    db = world.open(max_open=1)
    async with using(db.conn()) as conn:
        for number, (column, value) in enumerate(values_of(world)):
            # Each has a table of its own: some drivers remember the types of a statement's parameters.
            table = f"held_{number}"
            column_type = column.format(blob=world.blob)
            await done(conn.exec(f"create temporary table {table} (id integer, value {column_type})"))
            insert, select = world.sql(f"insert into {table} values (?, ?)"), f"select value from {table}"
            await done(conn.exec(insert, 1, wrapped(value)))
            await done(conn.prepare(insert).exec(2, wrapped(value)))
            await done(conn.exec_many(insert, [(3, wrapped(value))]))
            found = [row.value async for row in each(await done(conn.query(select)))]
            found += await done(conn.query_row(select))
            found += await done(conn.prepare(select).query_row())
            assert [told(one, value) for one in found] == [told(value, value)] * 5, column
            await done(conn.exec(f"drop table {table}"))


def told(value: Any, sent: Any) -> Any:
    """Make a value comparable: NaN does not equal itself, and some drivers give bytes as a memoryview."""
    if isinstance(value, memoryview):
        value = bytes(value)
    return type(value), str(value) if isinstance(sent, Decimal) else value


@pytest.mark.parametrize("column", ABSENT)
async def test_null_is_none(world: World, column: str) -> None:
    db = world.open(max_open=1)
    async with using(db.conn()) as conn:
        column_type = column.format(blob=world.blob)
        await done(conn.exec(f"create temporary table held (id integer, value {column_type})"))
        insert = world.sql("insert into held values (?, ?)")
        await done(conn.exec(insert, 1, None))
        await done(conn.prepare(insert).exec(2, None))
        rows = await done(conn.query("select value from held"))
        assert await done(rows.all()) == [(None,), (None,)]
        assert await done(conn.query_row("select value from held where id = 2")) == (None,)
        rule = world.sql("select count(*) from held where value is null")
        assert await done(conn.query_row(rule)) == (2,)
        await done(conn.exec("drop table held"))


async def test_null_where_it_is_forbidden_is_the_driver_s_error(world: World) -> None:
    db = await world.open_people()
    for execute in (db.exec, lambda sql, *params: db.prepare(sql).exec(*params)):
        with pytest.raises(Exception, match=r"(?i)null"):
            await done(execute(world.sql(INSERT), 1, None, 3))
    assert await world.count(db) == 0


class Untold:
    """Nothing that a database knows, nor can it be pasted as text, as the drivers for MySQL would."""

    def __str__(self) -> str:
        raise TypeError("text of this is not supported")


async def test_a_value_that_the_driver_cannot_take_is_the_driver_s_error(world: World) -> None:
    db = await world.open_people(max_open=1)
    for execute in (db.exec, db.query, db.query_row, lambda sql, *params: db.prepare(sql).exec(*params)):
        with pytest.raises(Exception, match=r"(?i)adapt|support|bind|expected|convert|handle"):
            await done(execute(world.sql(INSERT), 1, Untold(), 3))
    assert db.stats().connect_count == 1
    assert db.stats().in_use == 0


async def test_bytes_stay_what_they_are_when_their_rows_are_closed(world: World) -> None:
    db = await world.open_people(max_open=1)
    photo = (await done(db.query_row("select photo from people where id = 1")))[0]
    rows = await done(db.query("select photo from people where id = 2"))
    other = [bytes(row.photo) async for row in each(rows)]
    again = (await done(db.query_row("select photo from people where id = 1")))[0]
    assert (bytes(photo), other, bytes(again)) == (b"APHOTO", [b"BPHOTO"], b"APHOTO")


async def test_a_percent_sign_is_left_alone_where_there_are_no_parameters(world: World) -> None:
    db = await world.open_people()
    statement = "select name, '100%' as sure from people where name like '%b'"
    assert await done(db.query_row(statement)) == ("Bob", "100%")
    assert await done((await done(db.query(statement))).all()) == [("Bob", "100%")]


async def test_what_was_done_is_counted(world: World) -> None:
    db = await world.open_people()
    inserted = await done(db.exec(world.sql(INSERT), 7, "nut", 3))
    assert inserted.rows_affected == 1
    assert inserted.last_insert_id == (7 if world.database == "sqlite" else None)
    assert (await done(db.exec("update people set age = 40"))).rows_affected == 3
    assert (await done(db.exec("delete from people where age = 41"))).rows_affected == 0
    many = await done(db.exec_many(world.sql(INSERT), [(i, "bolt", i) for i in range(20, 25)]))
    assert (many.rows_affected, many.last_insert_id) == (None if world.kind.name == "asyncpg" else 5, None)
    assert (await done(db.exec_many(world.sql(INSERT), []))).last_insert_id is None


async def test_many_sets_of_parameters_may_come_from_an_iterator(world: World) -> None:
    db = await world.open_people(max_open=1)
    for number in (0, 3):
        await done(db.exec_many(world.sql(INSERT), ((i, "100%s", i) for i in range(number))))
        assert await world.count(db) == number
    if world.kind.named is not None:
        statement = world.named("insert into things values (:id, :name, :id)")
        await done(db.exec_many(statement, iter([{"name": "a:b", "id": 7}, {"name": "nut", "id": 8}])))
        assert await world.count(db) == 5
    assert db.stats().connect_count == 1


async def test_a_list_is_pasted_whole_where_the_driver_knows_lists(world: World) -> None:
    if world.kind.name not in ("PyMySQL", "mysqlclient", "aiomysql"):
        return  # others bind parameters, or refuse a list
    db = await world.open_people()
    rows = await done(db.query("select id from people where name in %s order by id", ["Bob", "Chris"]))
    assert await done(rows.all()) == [(2,), (3,)]


async def test_a_key_that_the_database_makes_is_told_where_it_tells(world: World) -> None:
    db = world.open(max_open=1)
    async with using(db.conn()) as conn:
        key = f"{KEYS[world.database]} primary key"
        await done(conn.exec(f"create temporary table keyed (id {key}, name varchar(40))"))
        insert = world.sql("insert into keyed (name) values (?)")
        made = [(await done(conn.exec(insert, name))).last_insert_id for name in ("a", "b")]
        assert made == ([None, None] if world.database == "postgresql" else [1, 2])
        assert await done(conn.query_row(f"{insert} returning id", "c")) == (3,)
        await done(conn.exec("drop table keyed"))
