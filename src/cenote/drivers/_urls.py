"""What every driver needs of a URL: its scheme, its own parameters, and an error that shows no password."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import unquote

from cenote._query import divide
from cenote.durations import seconds
from cenote.errors import ConfigError
from cenote.options import redact

Reader = Callable[[str, str], Any]
"""Turns a parameter's name and text into its value, or raises `ConfigError`."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_HOST = re.compile(r"(?:\[[^\]]*\]|[^:\[\]]*)(?::([0-9]*))?")
_MAX_PORT = 65535


def scheme_of(url: str) -> str:
    """Return a URL's scheme in lower case.

    Raises:
        ConfigError: it is no URL.
    """
    match = _SCHEME.match(url)
    if match is None:
        raise ConfigError(
            f"{redact(url)!r} is not a URL; write scheme://user@host/database, "
            "for example 'postgresql://app@db/app' or 'sqlite:///app.db'"
        )
    return match[1].lower()


def with_scheme(url: str, scheme: str) -> str:
    """Exchange the scheme for the one the driver itself knows."""
    return f"{scheme}://{url.partition('://')[2]}"


def take_parameters(url: str, known: Mapping[str, Reader]) -> tuple[dict[str, Any], str]:
    """Take the parameters in `known` out of a URL's query, and return their values and the URL without them.

    All others stay as they are, byte for byte and in order.

    Raises:
        ConfigError: a parameter stands there twice, or its value makes no sense.
    """
    start = url.index("://") + 3
    head = url[start:].partition("/")[0]
    mark = url.find("?", start + head.rfind("@") + 1)  # libpq accepts a raw "?" in a password
    if mark < 0:
        return {}, url
    found, kept = divide(url, mark, known)
    taken: dict[str, Any] = {}
    for name, text in found:
        if name in taken:
            raise ConfigError(f"{name}: given twice in {redact(url)!r}; write it once")
        taken[name] = known[name](name, text)
    return taken, url[:mark] + ("?" + "&".join(kept) if any(kept) else "")


def refuse_parameters(url: str, known: Iterable[str]) -> None:
    """Refuse whatever `take_parameters` left.

    Raises:
        ConfigError: the query is not empty.
    """
    query = url.partition("?")[2]
    if query:
        name = unquote(query.split("&")[0].partition("=")[0])
        raise ConfigError(f"unknown parameter {name!r} in {redact(url)!r}; {nearest(name, known)}")


def nearest(name: str, known: Iterable[str]) -> str:
    """End an error with a remedy: the name that was probably meant, or all there are."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(names)}"


def check_hosts(url: str) -> None:
    """Look at every port of ``user@host:port,host:port``; drivers would notice at the first dial only.

    Raises:
        ConfigError: a port is no number from 1 to 65535. That is also what a raw ``/`` or ``:`` in a
            password looks like, so the port itself is not shown.
    """
    authority = re.split(r"[/?#]", url.partition("://")[2], maxsplit=1)[0]
    for host in authority.rpartition("@")[2].split(","):
        match = _HOST.fullmatch(host)
        if match is None or (match[1] and not 1 <= int(match[1]) <= _MAX_PORT):
            raise ConfigError(
                f"cannot read host and port in {redact(url)!r}; write host:port with a port from 1 to "
                f"{_MAX_PORT}, an IPv6 address in [brackets], special characters in a password as %XX"
            )


def whole(name: str, text: str) -> int:
    """Read a number without a sign."""
    if not (text.isascii() and text.isdigit()):
        raise ConfigError(f"{name}: must be a whole number, got {text!r}; write for example {name}=100")
    return int(text)


def whole_or_none(name: str, text: str) -> int | None:
    """Read a number without a sign, or ``none``."""
    return None if text.lower() == "none" else whole(name, text)


def duration(name: str, text: str) -> float:
    """Read a duration such as ``2s``."""
    return seconds(text, option=name)


def switch(name: str, text: str) -> bool:
    """Read ``on`` or ``off`` in the spellings SQLite and libpq know."""
    value = {
        "1": True,
        "on": True,
        "true": True,
        "yes": True,
        "0": False,
        "off": False,
        "false": False,
        "no": False,
    }
    if text.lower() not in value:
        raise ConfigError(f"{name}: must be on or off, got {text!r}; write {name}=on")
    return value[text.lower()]


def text_itself(_: str, text: str) -> str:
    """Leave the check to the connector, which also gets it from Python."""
    return text
