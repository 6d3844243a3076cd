"""The levels of isolation that SQL names."""

from __future__ import annotations

from cenote.errors import ConfigError

LEVELS = ("read uncommitted", "read committed", "repeatable read", "serializable")


def check_isolation(isolation: str | None, levels: tuple[str, ...]) -> None:
    """Refuse a level that the database does not have.

    Raises:
        ConfigError: it has other ones.
    """
    if isolation is not None and isolation not in levels:
        raise ConfigError(f"isolation: must be one of {', '.join(levels)}, got {isolation!r}")
