"""The pool's options: names, defaults and limits, and every way to write them down.

One table serves keyword arguments, a URL's query, environment variables and command-line flags.
An `Options` that exists is valid: whatever is wrong is refused with one `ConfigError` that names the
option, the value and the remedy, before anything is opened. What must never be shown is hidden by `redact`.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import functools
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, Unpack

from cenote._option_table import ALIASES as ALIASES  # noqa: PLC0414 - part of this module's face
from cenote._option_table import OPTION_NAMES as OPTION_NAMES  # noqa: PLC0414 - as above
from cenote._option_table import SPECS, name_or_none, one_line
from cenote._query import divide
from cenote._secrets import HOSTS, SCHEME, authority
from cenote._secrets import redact as redact  # noqa: PLC0414 - as above
from cenote._secrets import scrub as scrub  # noqa: PLC0414 - as above
from cenote.durations import Duration, format_duration
from cenote.errors import ConfigError

OnFull = Literal["wait", "overflow", "reject"]
Reset = Literal["session"]
Auto = Literal["auto"]


class OptionsDict(TypedDict, total=False):
    """The options as a caller writes them, for ``**options: Unpack[OptionsDict]``."""

    max_open: int | None
    max_idle: int | None
    min_idle: int
    max_lifetime: Duration | None
    max_idle_time: Duration | None
    keepalive: Duration | Auto | None
    ping_after: Duration | None
    timeout: Duration | None
    connect_timeout: Duration
    max_waiting: int | None
    on_full: OnFull
    max_overflow: int
    max_connecting: int
    name: str | None
    reset: Reset | None
    warn_held: Duration | None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Options:
    """Everything a pool was told, checked. Durations are seconds.

    Make one with `of`, `from_url`, `from_env` or `from_args`, and a changed one with `replace`.

    Raises:
        ConfigError: a value has the wrong type, is out of range or contradicts another one.
    """

    dsn: str | None = None
    """Where to connect, as the driver gets it. It may hold a password, so it is shown redacted only."""

    max_open: int | None = 25
    """Most connections, connecting ones included. Bounded by default: an unbounded pool floods its server."""

    max_idle: int | None = None
    """Most idle ones kept; None is as many as `max_open`. Fewer means paying for a dial after every burst."""

    min_idle: int = 0
    """Kept warm by upkeep, so that the first callers after a quiet night do not pay for the dials."""

    max_lifetime: float | None = 3600.0
    """Age at which a connection is replaced, so that load follows servers that come and go."""

    max_idle_time: float | None = 900.0
    """Idle for longer, it is closed: what a burst opened is given back before a server cuts it off."""

    keepalive: float | Auto | None = None
    """How often an idle connection is pinged, for those who cut off the silent. None is never.

    ``"auto"`` asks the server for its own time-out and pings twice as often."""

    ping_after: float | None = 60.0
    """Idle for longer, it is pinged on acquire: some deaths leave no trace. None is never, 0 always."""

    timeout: float | None = 30.0
    """For one acquire: waiting, dialing and checking together. None waits for ever, 0 takes what is there."""

    connect_timeout: float = 5.0
    """For one dial. Never None: a dial without an end would hold its place under `max_open` for ever."""

    max_waiting: int | None = None
    """A longer queue is refused at once, so that an overload fails fast. None queues everybody."""

    on_full: OnFull = "wait"
    """What a caller meets at `max_open`: the queue, a short-lived extra connection, or `PoolFull` at once."""

    max_overflow: int = 10
    """Most extra connections of ``on_full="overflow"``, which would be unbounded otherwise."""

    max_connecting: int = 4
    """Dials under way at once: after a restart of the server it is not met by all of them in one moment."""

    name: str | None = None
    """For logs, metrics and errors; None is `default_name` of the URL."""

    reset: Reset | None = None
    """``"session"`` clears SET, locks and temporary tables on release, at the price of a round trip."""

    warn_held: float | None = None
    """Held for longer, it is reported with the line that took it, which finds leaks. None is off."""

    def __post_init__(self) -> None:
        """Turn what was given into what the fields promise, or refuse it."""
        if self.dsn is not None:
            _check_url(self.dsn)
        for name, spec in SPECS.items():
            object.__setattr__(self, name, spec.read(getattr(self, name), name))
        if self.min_idle > self.idle_limit:
            which = "max_idle" if self.max_idle == self.idle_limit else "max_open"
            problem = f"must not be above {which}={self.idle_limit}, got {self.min_idle}"
            raise ConfigError(f"min_idle: {problem}; lower it or raise {which}")

    def __repr__(self) -> str:
        """Show what differs from the defaults, the URL without its password."""
        shown = [] if self.dsn is None else [f"dsn={redact(self.dsn)!r}"]
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if item.name in SPECS and value != item.default:
                shown.append(f"{item.name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"

    @property
    def idle_limit(self) -> float:
        """Most idle connections: `max_idle` clamped to `max_open`, or ``inf``."""
        return min(math.inf if limit is None else limit for limit in (self.max_idle, self.max_open))

    @property
    def limit(self) -> float:
        """Most connections there can ever be, overflow included, or ``inf``."""
        if self.max_open is None:
            return math.inf
        return self.max_open + (self.max_overflow if self.on_full == "overflow" else 0)

    @classmethod
    def of(cls, dsn: str | None = None, **options: Unpack[OptionsDict]) -> Options:
        """Check options as a caller writes them. `dsn` is kept as it is, its query is not looked at.

        Raises:
            TypeError: an option is unknown; the nearest name is suggested.
            ConfigError: a value has the wrong type, is out of range or contradicts another one.
        """
        raw: dict[str, Any] = {**options}
        _refuse_unknown(raw)
        return _effective(cls(dsn=dsn, **raw), raw)

    def replace(self, **options: Unpack[OptionsDict]) -> Options:
        """Return a copy with other values, checked like `of` and together with those that stay."""
        raw: dict[str, Any] = {**options}
        _refuse_unknown(raw)
        return _effective(dataclasses.replace(self, **raw), raw)

    @classmethod
    def from_url(cls, url: str, **options: Unpack[OptionsDict]) -> Options:
        """Take the options out of a URL's query; what remains is `dsn`. Keyword options win over the URL's.

        Raises:
            TypeError: a keyword option is unknown.
            ConfigError: as for `of`, or an option stands twice in the URL.
        """
        taken, dsn = split_url(url)
        raw: dict[str, Any] = {
            name: SPECS[name].read_text(text, f"{name} (in the URL)") for name, text in taken.items()
        }
        raw.update(options)
        return cls.of(dsn, **raw)

    @classmethod
    def from_env(cls, prefix: str = "DB_", environ: Mapping[str, str] = os.environ) -> Options:
        """Read ``DB_DSN``, ``DB_MAX_OPEN_CONNS``, ``DB_TIMEOUT``, ...; a variable wins over the URL's query.

        Raises:
            ConfigError: ``DB_DSN`` is missing or a value is wrong; the variable is named.
        """
        dsn = environ.get(f"{prefix}DSN")
        if not dsn:
            raise ConfigError(f"{prefix}DSN: not set; set it to the database's URL, like {_EXAMPLE_URL}")
        names = {f"{prefix}{alias.upper()}": name for alias, name in ALIASES.items()}
        for variable, name in names.items():
            unread = f"{prefix}{name.upper()}"
            if unread not in names and unread in environ:
                problem = f"not a variable that is read, got {one_line(environ[unread])}"
                raise ConfigError(f"{unread}: {problem}; write {variable}")
        given = {variable: name for variable, name in names.items() if variable in environ}
        raw: dict[str, Any] = {
            name: SPECS[name].read_text(environ[variable], f"{variable} ({name})")
            for variable, name in given.items()
        }
        return cls._from_sources(dsn, raw, [f"{prefix}DSN", *given])

    @classmethod
    def from_args(cls, namespace: argparse.Namespace, prefix: str = "db") -> Options:
        """Read what `add_arguments` added; a flag wins over the URL's query.

        Raises:
            ConfigError: the URL is missing, or options contradict each other; the flags are named.
        """
        found = vars(namespace)
        flags = {_flag(prefix, alias): name for alias, name in ALIASES.items()}
        url = _flag(prefix, "dsn")
        dsn = found.get(_dest(url))
        if not dsn:
            raise ConfigError(f"{url}: not given; give the database's URL, like {_EXAMPLE_URL}")
        raw: dict[str, Any] = {
            name: found[_dest(flag)] for flag, name in flags.items() if _dest(flag) in found
        }
        return cls._from_sources(dsn, raw, [url, *(flag for flag in flags if _dest(flag) in found)])

    @classmethod
    def _from_sources(cls, dsn: str, raw: dict[str, Any], sources: list[str]) -> Options:
        try:
            return cls.from_url(dsn, **raw)
        except ConfigError as error:
            raise ConfigError(f"{error} (read from {', '.join(sources)})") from None


def add_arguments(parser: argparse.ArgumentParser, prefix: str = "db") -> None:
    """Add ``--db-dsn`` and a flag for every option, to be read by `Options.from_args`.

    A bad value ends the program as argparse does, with status 2 and the message of our `ConfigError`.
    """
    defaults = {item.name: item.default for item in dataclasses.fields(Options)}
    group = parser.add_argument_group(
        f"{prefix} connection pool".strip(), "A DURATION has a unit, like 1h30m, 15m or 250ms."
    )

    def add(alias: str, metavar: str, read: Callable[[str], object], about: str) -> None:
        def checked(text: str) -> object:
            try:
                return read(text)
            except ConfigError as error:
                raise argparse.ArgumentTypeError(str(error)) from None

        # Absent unless given, so that a default does not win over the URL's query.
        group.add_argument(
            _flag(prefix, alias), metavar=metavar, type=checked, default=argparse.SUPPRESS, help=about
        )

    def url(text: str) -> str:
        Options.from_url(text)
        return text

    add("dsn", "URL", url, "where to connect, like postgresql://app@db/app; may carry options in its query")
    for alias, name in ALIASES.items():
        spec = SPECS[name]
        default = defaults[name]
        if spec.kind.metavar == "DURATION" and isinstance(default, float):
            default = format_duration(default)
        none = f"; none is {spec.none}" if spec.none else ""
        about = f"{spec.about} (default: {'none' if default is None else default}{none})"
        add(alias, spec.kind.metavar, functools.partial(spec.read_text, label=name), about)


def _flag(prefix: str, alias: str) -> str:
    return "--" + f"{prefix}-{alias}".strip("-").replace("_", "-")


def _dest(flag: str) -> str:
    return flag.removeprefix("--").replace("-", "_")


def _effective(options: Options, given: Mapping[str, object]) -> Options:
    """Refuse what was given but has no effect; what merely stayed from before may sleep."""
    if "max_overflow" in given and options.on_full != "overflow":
        problem = f"has no effect with on_full={options.on_full!r}, got {options.max_overflow}"
        raise ConfigError(f"max_overflow: {problem}; leave it out or write on_full='overflow'")
    return options


def _check_url(url: object) -> None:
    if not isinstance(url, str) or not url:
        got = "empty text" if url == "" else type(url).__name__  # the value may hold a password
        raise ConfigError(f"dsn: must be a URL as text, got {got}; write one like {_EXAMPLE_URL}")


def _refuse_unknown(raw: Mapping[str, object]) -> None:
    for name in raw:
        if name not in SPECS:
            near = difflib.get_close_matches(name, OPTION_NAMES, n=1)
            remedy = f"did you mean {near[0]!r}?" if near else f"the options are {', '.join(OPTION_NAMES)}"
            raise TypeError(f"unknown option {name!r}; {remedy}")


_EXAMPLE_URL = "'postgresql://app@db/app'"


def split_url(url: str) -> tuple[dict[str, str], str]:
    """Take the parameters named like an option out of a URL: ``({option: text}, the URL without them)``.

    All others stay for the driver, byte for byte and in order; so does everything in a text that is no URL.

    Raises:
        ConfigError: an option stands there twice, or `url` is not text.
    """
    _check_url(url)
    scheme = SCHEME.match(url)
    if not scheme:
        return {}, url
    host = authority(url, scheme.end())
    begin = scheme.end() + len(host)
    if "@" not in host and not HOSTS.fullmatch(host):
        begin = max(begin, url.rfind("@"))  # the password holds a raw "?" or "/", which some drivers accept
    mark = url.find("?", begin)
    if mark < 0:
        return {}, url
    ours, kept = divide(url, mark, SPECS)
    taken: dict[str, str] = {}
    for name, value in ours:
        if name in taken:
            problem = f"given twice, got {one_line(value)} again"
            raise ConfigError(f"{name} (in the URL): {problem}; keep one of them")
        taken[name] = value
    if not taken:
        return {}, url
    return taken, url[:mark] + ("?" + "&".join(kept) if kept else "")


def default_name(url: str) -> str:
    """Name a pool after its URL, without password and query: ``"app@db/app"``, ``"orders.db"``."""
    text = "".join(letter for letter in redact(url) if letter.isprintable()).strip()
    scheme = SCHEME.match(text)
    if not scheme:
        return "pool"
    kind = scheme[0].removesuffix("://").lower()
    place = re.sub(r"(?::|%3[Aa])\*\*\*", "", text[scheme.end() :].partition("?")[0], count=1)
    if kind.partition("+")[0] in {"sqlite", "unix"}:
        name = place.rstrip("/").rpartition("/")[2] or ":memory:"
    else:
        name = place.lstrip("@").strip("/")
    return name if name_or_none(name, "name") else kind
