"""One row: a tuple that knows its columns, and what can be made of it."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest

import cenote
from cenote.sql.row import row_class
from tests.sql.fixtures import worlds
from tests.sql.worlds import MAIN, World, done, each

world = worlds(MAIN)  # what is asked here is no driver's matter
BOB = row_class(("id", "name", "age"))((2, "Bob", 32))


@dataclass
class Person:
    """Two of the columns, in another order, and something that is no column."""

    name: str
    id: int
    nickname: str = "none"
    friends: list[str] = field(default_factory=list)


@dataclass
class Stranger:
    """Needs a column that the result does not have."""

    name: str
    email: str


class Plain:
    """No dataclass: it gets all columns by name."""

    def __init__(self, **columns: Any) -> None:
        self.columns = columns


def test_a_row_is_a_tuple() -> None:
    assert BOB == (2, "Bob", 32)
    assert hash(BOB) == hash((2, "Bob", 32))
    assert BOB < (3,)
    number, name, age = BOB
    assert (number, name, age) == (2, "Bob", 32)
    assert len(BOB) == 3
    assert isinstance(BOB, tuple)
    assert isinstance(BOB, cenote.Row)


def test_a_column_is_had_by_position() -> None:
    assert BOB[1] == "Bob"
    assert BOB[-1] == 32
    assert BOB[1:] == ("Bob", 32)
    with pytest.raises(IndexError):
        BOB[3]


def test_a_column_is_had_by_name() -> None:
    assert BOB["name"] == "Bob"
    with pytest.raises(KeyError, match="'email'; the columns are id, name, age"):
        BOB["email"]


def test_a_column_is_an_attribute() -> None:
    assert BOB.name == "Bob"
    with pytest.raises(AttributeError, match="no column 'email'; the columns are id, name, age"):
        BOB.email  # noqa: B018 - asking is the point
    assert not hasattr(BOB, "email")
    assert getattr(BOB, "email", None) is None


def test_a_row_cannot_be_changed() -> None:
    with pytest.raises((AttributeError, TypeError)):
        BOB.name = "Rob"  # type: ignore[attr-defined] # asking is the point
    with pytest.raises(TypeError):
        BOB[1] = "Rob"


def test_of_columns_with_the_same_name_the_first_counts() -> None:
    row = row_class(("id", "name", "id"))((1, "Alice", 9))
    assert row["id"] == row.id == 1
    assert tuple(row) == (1, "Alice", 9)
    assert row.as_dict() == {"id": 1, "name": "Alice"}
    assert dict(row) == {"id": 1, "name": "Alice"}
    assert row.keys() == ("id", "name", "id")


def test_columns_named_as_a_tuple_s_methods_are_had_by_name() -> None:
    row = row_class(("count", "index", "keys"))((7, 8, 9))
    assert (row["count"], row["index"], row["keys"]) == (7, 8, 9)
    assert row.count(7) == 1  # as of every tuple
    assert dict(row) == {"count": 7, "index": 8, "keys": 9}


def test_columns_may_have_any_name() -> None:
    row = row_class(("?column?", "", "class", "größe", "_columns"))((1, 2, 3, 4, 5))
    assert (row["?column?"], row[""], row["class"], row.größe, row["_columns"]) == (1, 2, 3, 4, 5)


def test_a_row_makes_a_dict() -> None:
    assert dict(BOB) == BOB.as_dict() == {"id": 2, "name": "Bob", "age": 32}
    assert list(BOB.as_dict()) == list(dict(BOB)) == ["id", "name", "age"]
    assert {**BOB} == {"id": 2, "name": "Bob", "age": 32}


def test_a_row_shows_its_columns() -> None:
    assert repr(BOB) == "Row(id=2, name='Bob', age=32)"


def test_a_row_can_be_pickled_and_copied() -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(BOB, protocol))  # noqa: S301 - our own bytes
        assert again == BOB
        assert again.name == "Bob"
    assert copy.copy(BOB).name == copy.deepcopy(BOB).name == "Bob"


def test_rows_with_the_same_columns_share_a_class() -> None:
    assert type(BOB) is row_class(("id", "name", "age"))


def test_a_row_can_be_matched_by_a_pattern() -> None:
    match BOB:
        case (2, str(name), _):
            assert name == "Bob"
        case _:
            pytest.fail("a row is a sequence")


async def test_rows_become_a_dataclass_by_the_names_of_its_fields(world: World) -> None:
    db = await world.open_people()
    rows = await done(db.query("select age, id, name from people order by id"))
    assert [person async for person in each(rows.as_type(Person))] == [
        Person("Alice", 1),
        Person("Bob", 2),
        Person("Chris", 3),
    ]
    assert db.stats().in_use == 0


async def test_no_rows_become_no_dataclass(world: World) -> None:
    db = await world.open_people()
    rows = await done(db.query("select id, name from people where id > 3"))
    assert [person async for person in each(rows.as_type(Person))] == []


async def test_a_field_without_a_column_is_refused_before_a_row_is_read(world: World) -> None:
    db = await world.open_people()
    rows = await done(db.query("select id, name from people"))
    with pytest.raises(cenote.Error, match="no column 'email' for Stranger; its columns are id, name"):
        await anext(aiter(each(rows.as_type(Stranger))))
    assert len(await done(rows.all())) == 3


async def test_one_column_becomes_a_plain_value(world: World) -> None:
    db = await world.open_people()
    ages = await done(db.query("select age from people order by id"))
    assert [age async for age in each(ages.as_type(int))] == [31, 32, 33]
    words = await done(db.query("select age from people order by id"))
    assert [age async for age in each(words.as_type(str))] == ["31", "32", "33"]


class Name(str):
    """A string of a type of its own."""

    __slots__ = ()


class Age(Enum):
    """One of a few."""

    YOUNG = 31
    OLD = 33


@pytest.mark.parametrize(
    ("column", "kind", "values"),
    [
        ("name", Name, [Name("Alice"), Name("Chris")]),
        ("age", Decimal, [Decimal(31), Decimal(33)]),
        ("age", Age, [Age.YOUNG, Age.OLD]),
    ],
)
async def test_one_column_becomes_a_value_of_a_type_of_its_own(
    world: World, column: str, kind: type[Any], values: list[Any]
) -> None:
    db = await world.open_people()
    rows = await done(db.query(f"select {column} from people where id <> 2 order by id"))
    found = [value async for value in each(rows.as_type(kind))]
    assert found == values
    assert {type(value) for value in found} == {kind}


async def test_several_columns_are_no_plain_value(world: World) -> None:
    db = await world.open_people()
    rows = await done(db.query("select id, age from people"))
    with pytest.raises(cenote.Error, match="int takes one column, the result has 2: id, age"):
        await anext(aiter(each(rows.as_type(int))))
    await done(rows.close())


async def test_a_value_that_is_no_such_type_raises_what_the_type_raises(world: World) -> None:
    db = await world.open_people()
    rows = await done(db.query("select name from people"))
    with pytest.raises(ValueError, match="invalid literal for int"):
        await anext(aiter(each(rows.as_type(int))))
    await done(rows.close())


async def test_null_is_none_in_a_dataclass_and_no_plain_number(world: World) -> None:
    db = await world.open_people()
    await done(db.exec("update people set name = null where id = 2"))
    people = await done(db.query("select id, name from people where id = 2"))
    assert [person.name async for person in each(people.as_type(Person))] == [None]
    names = await done(db.query("select name from people where id = 2"))
    with pytest.raises(TypeError, match="NoneType"):
        await anext(aiter(each(names.as_type(int))))


async def test_any_other_class_gets_all_columns_by_name(world: World) -> None:
    db = await world.open_people()
    rows = await done(db.query("select id, name from people where id = 2"))
    (plain,) = [one async for one in each(rows.as_type(Plain))]
    assert plain.columns == {"id": 2, "name": "Bob"}


async def test_rows_that_were_read_are_not_converted_either(world: World) -> None:
    db = await world.open_people()
    rows = await done(db.query("select age from people"))
    await done(rows.all())
    with pytest.raises(cenote.RowsClosed):
        await anext(aiter(each(rows.as_type(int))))


def test_threads_read_a_single_row_by_next(tmp_path: Any) -> None:
    with cenote.open(f"sqlite:///{tmp_path}/app.db") as db:
        rows: Iterator[Any] = iter(db.query("select 1 union all select 2"))
        assert [next(rows), next(rows), next(rows, None)] == [(1,), (2,), None]
        with db.query("select 1 union all select 2") as one:
            assert next(one) == (1,)
            assert next(one) == (2,)
            with pytest.raises(StopIteration):
                next(one)


async def test_asking_a_query_that_was_not_sent_says_so() -> None:
    async with cenote.open_async("sqlite://") as db:
        rows = db.query("select 1")
        with pytest.raises(cenote.Error, match="not sent yet"):
            rows.columns  # noqa: B018 - asking is the point
        await rows.close()
        assert db.stats().connect_count == 0
        assert await rows.all() == [(1,)]
        assert [row async for row in db.query("select 2")] == [(2,)]
