"""The drop-in pools have all that redis-py's have, and the guide says of each what it does here."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio

import cenote.redis

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guide" / "redis.md"
PAIRS = [
    (cenote.redis.ConnectionPool, redis.ConnectionPool),
    (cenote.redis.AsyncConnectionPool, redis.asyncio.ConnectionPool),
]


def of_the_pool_itself(theirs: type[Any]) -> set[str]:
    """The public names of redis-py's pool, without those that only its maintenance notifications use."""
    own = {name for one in theirs.__mro__ if "Maint" not in one.__name__ for name in vars(one)}
    return {name for name in own if not name.startswith("_") and not name.isupper()}


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_every_name_of_redis_pys_pool_is_in_the_guide(ours: type[Any], theirs: type[Any]) -> None:
    words = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`\n]+)`", GUIDE.read_text()))))
    assert of_the_pool_itself(theirs) - words == set()
    assert issubclass(ours, theirs)


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_what_is_awaited_there_is_awaited_here_and_takes_the_same(ours: type[Any], theirs: type[Any]) -> None:
    for name in of_the_pool_itself(theirs):
        mine, other = inspect.getattr_static(ours, name), inspect.getattr_static(theirs, name)
        if inspect.isfunction(other):
            assert inspect.iscoroutinefunction(mine) == inspect.iscoroutinefunction(inspect.unwrap(other)), (
                name
            )
            taken = set(inspect.signature(inspect.unwrap(other)).parameters)
            assert taken <= set(inspect.signature(mine).parameters), name


def test_nothing_of_redis_pys_pool_that_keeps_connections_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """What redis-py's pool does with its own lists is never done here."""
    for ours, theirs in PAIRS:
        source = inspect.getsource(theirs)
        keeping = {
            name
            for name, body in re.findall(
                r"\n    (?:async )?def (\w+)(.*?)(?=\n    (?:async )?def |\Z)", source, re.DOTALL
            )
            if "_available_connections" in body or "_in_use_connections" in body
        }
        own = {name for one in ours.__mro__ if one not in theirs.__mro__ for name in vars(one)}
        assert keeping - own <= {"get_connection_count"}
