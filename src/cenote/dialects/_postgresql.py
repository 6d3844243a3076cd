"""What the PostgreSQL dialects share: how a transaction begins."""

from __future__ import annotations

from cenote.errors import ConfigError
from cenote.sql.dialect import Isolation

_LEVELS = ("read uncommitted", "read committed", "repeatable read", "serializable")


def begin_with(isolation: Isolation | None, *, read_only: bool) -> str:
    """Word the beginning, in one statement.

    Raises:
        ConfigError: there is no such level.
    """
    check_isolation(isolation, _LEVELS)
    level = f" ISOLATION LEVEL {isolation.upper()}" if isolation else ""
    return f"BEGIN{level}{' READ ONLY' if read_only else ''}"


def check_isolation(isolation: str | None, levels: tuple[str, ...]) -> None:
    """Refuse a level that the database does not have.

    Raises:
        ConfigError: it has other ones.
    """
    if isolation is not None and isolation not in levels:
        raise ConfigError(f"isolation: must be one of {', '.join(levels)}, got {isolation!r}")
