"""Fixtures that run each test in every world; `tests/sql/conftest.py` hands them on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.sql.scripted import Scripted
from tests.sql.worlds import KINDS, Kind, World


def worlds(kinds: list[Kind]) -> Any:
    """Make a fixture that is a real database through one of these drivers."""

    @pytest.fixture(params=kinds, ids=lambda kind: kind.name)
    async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
        """A real database through one driver."""
        made = World(request.param, tmp_path, request.getfixturevalue)
        yield made
        await made.end()

    return world


world = worlds(KINDS)


@pytest.fixture(params=[False, True], ids=["threads", "asyncio"])
async def scripted(request: pytest.FixtureRequest) -> AsyncIterator[Scripted]:
    """A driver that does as it is told."""
    made = Scripted(asynchronous=request.param)
    yield made
    await made.end()
