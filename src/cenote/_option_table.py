"""The table of the pool's options: what each is about, how it is read, and what is said when it is wrong.

One row serves keyword arguments, a URL's query, environment variables and command-line flags alike. How the
options stand to each other, and their defaults, are in `cenote.options`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from cenote._secrets import redact
from cenote.durations import seconds
from cenote.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Kind:
    """One sort of value: how it is checked, and what an error and a help text say about it."""

    check: Callable[[object, str], object]  # (value, label) -> the value to keep, or None to refuse it
    want: str
    example: str
    metavar: str


def _whole(least: int, example: int) -> Kind:
    def check(value: object, _: str) -> object:
        # A bool is an int for Python; for a reader it is a mistake.
        return value if isinstance(value, int) and not isinstance(value, bool) and value >= least else None

    return Kind(check, f"a whole number from {least} up", str(example), "N")


def _length(example: str, *, zero: bool = False) -> Kind:
    def check(value: object, label: str) -> object:
        if isinstance(value, str) and redact(value) != value:
            return None  # a URL in the wrong place: only `Spec.read` knows how to show it
        length = seconds(value, option=label)  # type: ignore[arg-type]  # it refuses what is no Duration
        return length if length > 0 or zero else None

    return Kind(check, f"a duration {'from' if zero else 'above'} 0", repr(example), "DURATION")


def _length_or(word: str, length: Kind) -> Kind:
    def check(value: object, label: str) -> object:
        return word if isinstance(value, str) and value.lower() == word else length.check(value, label)

    return Kind(check, f"{length.want}, or {word!r}", length.example, length.metavar)


def _choice(*words: str) -> Kind:
    def check(value: object, _: str) -> object:
        return value if isinstance(value, str) and value in words else None

    return Kind(check, " or ".join(map(repr, words)), repr(words[0]), f"{{{','.join(words)}}}")


def name_or_none(value: object, _: str) -> object:
    """Accept a name that may stand in every log and metric, hence no URL with a password."""
    readable = isinstance(value, str) and value.strip() and value.isprintable() and redact(value) == value
    return value if readable else None


@dataclass(frozen=True, slots=True)
class Spec:
    """One row of the table. `none` says what None means; without it None is refused."""

    kind: Kind
    about: str
    none: str | None = None
    alias: str | None = None

    def read(self, value: object, label: str) -> object:
        """Return the value as the field holds it, or raise the `ConfigError` that begins with `label`."""
        if value is None and self.none:
            return None
        checked = None if value is None else self.kind.check(value, label)
        if checked is None:
            remedy = f"write {self.kind.example}" + (f", or None for {self.none}" if self.none else "")
            raise ConfigError(f"{label}: must be {self.kind.want}, got {one_line(value)}; {remedy}")
        return checked

    def read_text(self, text: str, label: str) -> object:
        """Do the same for a URL, a variable or a flag, where numbers and None are text too."""
        value: object = text
        if self.none and text.lower() == "none":
            value = None
        elif self.kind.metavar == "N" and re.fullmatch(r"-?[0-9]{1,18}", text):
            value = int(text)
        return self.read(value, label)


SPECS = {
    "max_open": Spec(
        _whole(1, 25), "most connections, connecting ones included", "no limit", "max_open_conns"
    ),
    "max_idle": Spec(_whole(0, 25), "most idle connections kept", "as many as max_open", "max_idle_conns"),
    "min_idle": Spec(_whole(0, 0), "idle connections kept warm"),
    "max_lifetime": Spec(
        _length("1h"), "age at which a connection is replaced", "no limit", "conn_max_lifetime"
    ),
    "max_idle_time": Spec(_length("15m"), "idle for longer, a connection is closed", "no limit"),
    "keepalive": Spec(
        _length_or("auto", _length("30s")),
        "how often an idle connection is pinged; auto is below the server's time-out",
        "never",
    ),
    "ping_after": Spec(_length("60s", zero=True), "idle for longer, it is pinged on acquire", "never"),
    "timeout": Spec(_length("30s", zero=True), "longest wait for a connection, dialing included", "no limit"),
    "connect_timeout": Spec(_length("5s"), "longest time for one dial"),
    "max_waiting": Spec(_whole(0, 100), "longest queue of callers, beyond it they are refused", "no limit"),
    "on_full": Spec(_choice("wait", "overflow", "reject"), "what a caller meets when all are in use"),
    "max_overflow": Spec(_whole(1, 10), "most extra connections with on_full overflow"),
    "max_connecting": Spec(_whole(1, 4), "most dials at once"),
    "name": Spec(
        Kind(name_or_none, "printable text without a password", "'orders'", "NAME"),
        "name in logs and metrics",
        "the URL's own",
    ),
    "reset": Spec(_choice("session"), "session state cleared on release", "not cleared"),
    "warn_held": Spec(_length("30s"), "held for longer, a connection is reported", "never"),
}
OPTION_NAMES = tuple(SPECS)
"""Every option a caller may give; `dsn` is not one of them."""

ALIASES = {spec.alias or name: name for name, spec in SPECS.items()}
"""How variables and flags call the options: Go's names where it has them, else the option's own."""


def one_line(value: object) -> str:
    """Keep an error to one line without a password, even when a URL landed in the wrong place."""
    text = repr(redact(value) if isinstance(value, str) else value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


_MAX_SHOWN = 64
