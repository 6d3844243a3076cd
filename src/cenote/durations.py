"""Durations as people write them: the one place where text becomes seconds and back.

A duration is a number of seconds, a `timedelta`, or text as Go writes it: ``"1h30m"``, ``"15m"``,
``"250ms"``. Text needs a unit, because the reader of a flag or a variable cannot see which one was
meant; only ``"0"`` is plain.
"""

from __future__ import annotations

import math
import re
from datetime import timedelta
from fractions import Fraction

from cenote.errors import ConfigError

Duration = float | int | timedelta | str
"""What every option and argument that is a length of time accepts."""

# Longer than any pool lives, and short enough for every clock and lock that is handed the number.
LONGEST = 100 * 365 * 24 * 3600.0

_NANOSECONDS = {
    "ns": 1,
    "us": 10**3,
    "\N{MICRO SIGN}s": 10**3,
    "\N{GREEK SMALL LETTER MU}s": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_NUMBER = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_PLAIN = re.compile(rf"[+-]?{_NUMBER}")
_PART = re.compile(rf"({_NUMBER})({'|'.join(_NANOSECONDS)})")
_TEXT = re.compile(rf"([+-]?)((?:{_PART.pattern})+)")
_MAX_TEXT = 64


def seconds(value: Duration, *, option: str) -> float:
    """Read a duration and return it in seconds.

    Args:
        value: seconds as a number, a `timedelta`, or text like ``"1h30m"``, ``"1.5s"``, ``"100us"``, ``"0"``.
        option: what the value is for; every error begins with it.

    Raises:
        ConfigError: it is no duration, has no unit, is negative, is not finite or is longer than 100 years.
    """
    given: object = value  # callers hand over what they were given, whatever its type
    if isinstance(given, str):
        length = _parse(given, option)
    elif isinstance(given, timedelta):
        length = given.total_seconds()
    elif isinstance(given, (int, float)) and not isinstance(given, bool):
        length = given
    else:
        problem = f"not a duration, got {_shown(given)}"
        raise ConfigError(f"{option}: {problem}; write seconds, a timedelta, or text like '15m'")
    if not 0 <= length <= LONGEST:  # also what catches nan
        message = (
            f"{option}: must be from 0 to 100 years, got {_shown(value)}; write for example '30s' or '15m'"
        )
        raise ConfigError(message)
    return float(length) + 0.0  # the sum turns -0.0 into 0.0


def format_duration(seconds: float) -> str:
    """Write seconds for a reader: ``"1h30m"``, ``"2m30s"``, ``"1.2s"``, ``"250ms"``.

    Rounded to three digits below a minute and to whole seconds above, so it is for messages, not for sums.
    What it writes, `seconds` reads.
    """
    if seconds < 0:
        return f"-{format_duration(-seconds)}"
    if not math.isfinite(seconds):
        return str(seconds)
    if round(seconds, 9) == 0:
        return "0s"
    for unit, size, limit in (("us", 1e-6, 1000), ("ms", 1e-3, 1000), ("s", 1, 60)):
        digits = f"{round(seconds, 9) / size:.3g}"
        if float(digits) < limit:  # asked after rounding: 999.7 ms is "1s", not "1e+03ms"
            return f"{digits}{unit}"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return "".join(f"{count}{unit}" for count, unit in ((hours, "h"), (minutes, "m"), (rest, "s")) if count)


def _parse(text: str, option: str) -> float:
    """Read Go's duration syntax; exact to the last bit, since ``0.07 * 3600`` is not 252."""
    if text == "0":
        return 0.0
    match = _TEXT.fullmatch(text) if len(text) <= _MAX_TEXT else None
    if match:
        total = sum(Fraction(number) * _NANOSECONDS[unit] for number, unit in _PART.findall(match[2]))
        return float(total / 10**9) * (-1 if match[1] == "-" else 1)
    if len(text) <= _MAX_TEXT and _PLAIN.fullmatch(text):
        raise ConfigError(
            f"{option}: a duration in text needs a unit, got {text!r}; write '{text}s' for seconds"
        )
    remedy = "write numbers with h, m, s, ms, us or ns, like '1h30m' or '250ms'"
    raise ConfigError(f"{option}: not a duration, got {_shown(text)}; {remedy}")


def _shown(value: object) -> str:
    """Keep an error to one readable line whatever was handed in."""
    text = repr(value)
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}..."
