"""Worlds for tests: `make` in threads and in tasks, each with and without a listener."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.faces.worlds import ALL, World, world_of

Make = Callable[..., Any]


@pytest.fixture(params=ALL, ids=[kind.name for kind in ALL])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """A factory of worlds: hooks as arguments, options by name."""
    kind: type[World] = request.param
    with ExitStack() as stack:
        yield lambda *hooks, **options: stack.enter_context(world_of(kind, *hooks, **options))
