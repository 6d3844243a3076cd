"""What the PostgreSQL drivers share: reading the address before anything is opened."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from cenote.drivers._urls import check_hosts
from cenote.errors import ConfigError
from cenote.options import redact

# libpq reports all states by the same numbers, and so do psycopg and psycopg2.
IDLE = 0
ACTIVE = 1
IN_TRANSACTION = 2
IN_ERROR = 3
UNKNOWN = 4

IN_ANY_TRANSACTION = (IN_TRANSACTION, IN_ERROR)
# In the middle of a statement or a COPY, or closed. A threaded user is cut off there by KeyboardInterrupt.
BROKEN = (ACTIVE, UNKNOWN)

# In milliseconds; there since PostgreSQL 14.
IDLE_TIMEOUT = "select setting::float8 / 1000 from pg_settings where name = 'idle_session_timeout'"


def check_conninfo(
    conninfo: str, parse: Callable[..., Any], error: type[Exception], parameters: dict[str, Any] | None = None
) -> None:
    """Have libpq read a URL or a ``host=x dbname=y`` string.

    Raises:
        ConfigError: libpq refuses it.
    """
    if "://" in conninfo:
        check_hosts(conninfo)
    try:
        parse(conninfo, **(parameters or {}))
        return
    except (error, ValueError) as refused:
        reason = _without_secrets(str(refused).strip(), conninfo, parameters or {})
    # Out of the except clause, so that libpq's text, which quotes the password, does not travel along.
    raise ConfigError(
        f"cannot read {redact(conninfo)!r}: {reason}; "
        "special characters in a user name or password are written as %XX"
    )


def _without_secrets(reason: str, conninfo: str, parameters: dict[str, Any]) -> str:
    """Keep what libpq quotes only if it is the name of a parameter; it may be a piece of a password."""
    quoted = re.search(r'"(.*)"', reason, re.DOTALL)
    if quoted is None or quoted[1] in parameters or f"{quoted[1]}=" in redact(conninfo):
        return reason
    return f'{reason[: quoted.start()]}"..."{reason[quoted.end() :]}'
