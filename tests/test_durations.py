"""Durations: what is read, what is refused, and what is written for a reader."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cenote.durations import LONGEST, Duration, format_duration, seconds
from cenote.errors import ConfigError


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, 0.0),
        (30, 30.0),
        (1.5, 1.5),
        (timedelta(minutes=15), 900.0),
        (timedelta(milliseconds=250), 0.25),
        ("0", 0.0),
        ("0s", 0.0),
        ("1h30m", 5400.0),
        ("15m", 900.0),
        ("2m30s", 150.0),
        ("250ms", 0.25),
        ("1.5s", 1.5),
        (".5s", 0.5),
        ("1.h", 3600.0),
        ("+1s", 1.0),
        ("100us", 1e-4),
        ("100\N{MICRO SIGN}s", 1e-4),
        ("100\N{GREEK SMALL LETTER MU}s", 1e-4),
        ("7ns", 7e-9),
        ("0.07h", 252.0),  # 0.07 * 3600 is a little more
        ("1h1m1s1ms", 3661.001),
        (LONGEST, LONGEST),
    ],
)
def test_a_duration_becomes_exact_seconds(value: Duration, expected: float) -> None:
    result = seconds(value, option="timeout")
    assert result == expected
    assert type(result) is float


def test_minus_zero_is_zero() -> None:
    assert math.copysign(1, seconds(-0.0, option="timeout")) == 1


@pytest.mark.parametrize("text", ["30", "1.5", "007", "-30", "0.0"])
def test_a_duration_without_unit_is_refused_with_the_one_to_write(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        seconds(text, option="timeout")
    assert str(caught.value) == (
        f"timeout: a duration in text needs a unit, got {text!r}; write '{text}s' for seconds"
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "1 h",
        "1h 30m",
        " 15m",
        "15m\n",
        "15M",
        "1d",
        "m",
        "h1",
        "1h30",
        "1e3s",
        "1_0s",
        "inf",
        "nan",
        "none",
        "ten",
        "--1s",
        "1h-30m",
        "\N{ARABIC-INDIC DIGIT FIVE}s",
        "9" * 100,
        "1s" * 100,
    ],
)
def test_a_text_that_is_no_duration_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        seconds(text, option="max_lifetime")
    message = str(caught.value)
    assert message.startswith("max_lifetime: not a duration, got ")
    assert repr(text)[:60] in message
    assert message.endswith("; write numbers with h, m, s, ms, us or ns, like '1h30m' or '250ms'")
    assert len(message) < 200


@pytest.mark.parametrize(
    "value",
    [
        -1,
        -0.001,
        "-1s",
        timedelta(seconds=-1),
        math.nan,
        math.inf,
        -math.inf,
        LONGEST + 1,
        10**400,
        "999999999h",
    ],
)
def test_a_duration_out_of_range_is_refused_with_the_range(value: Duration) -> None:
    with pytest.raises(ConfigError) as caught:
        seconds(value, option="keepalive")
    message = str(caught.value)
    assert message.startswith("keepalive: must be from 0 to 100 years, got ")
    assert repr(value)[:60] in message
    assert message.endswith("; write for example '30s' or '15m'")


@pytest.mark.parametrize("value", [True, False, None, b"1s", [1], 1j, object])
def test_a_value_of_another_type_is_refused_with_the_types_to_write(value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        seconds(value, option="timeout")
    assert str(caught.value) == (
        f"timeout: not a duration, got {value!r}; write seconds, a timedelta, or text like '15m'"
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0s"),
        (1e-12, "0s"),
        (1e-9, "0.001us"),
        (1e-4, "100us"),
        (0.00123, "1.23ms"),
        (0.25, "250ms"),
        (0.9996, "1s"),
        (1.2, "1.2s"),
        (1.2345, "1.23s"),
        (59.94, "59.9s"),
        (59.96, "1m"),
        (60, "1m"),
        (150, "2m30s"),
        (900, "15m"),
        (3599.6, "1h"),
        (3605, "1h5s"),
        (5400, "1h30m"),
        (90061, "25h1m1s"),
        (-1.5, "-1.5s"),
        (math.inf, "inf"),
    ],
)
def test_seconds_are_written_for_a_reader(value: float, expected: str) -> None:
    assert format_duration(value) == expected


@given(st.integers(min_value=0, max_value=int(LONGEST)))
def test_whole_seconds_survive_being_written_and_read(whole: int) -> None:
    assert seconds(format_duration(whole), option="timeout") == whole


@given(st.integers(min_value=0, max_value=999), st.sampled_from([1e6, 1e4, 1e3]))
def test_three_digits_survive_being_written_and_read(digits: int, divisor: float) -> None:
    assert seconds(format_duration(digits / divisor), option="timeout") == digits / divisor


@given(st.floats(min_value=1e-6, max_value=LONGEST))
def test_what_is_written_is_read_back_within_the_rounding(value: float) -> None:
    written = format_duration(value)
    read = seconds(written, option="timeout")
    assert read == pytest.approx(value, rel=0.0084)  # at worst 60.5 s, written as whole seconds
    assert format_duration(read) == written


@given(st.text(max_size=40) | st.from_regex(r"([0-9.]{1,4}(h|m|s|ms|us)?){1,3}", fullmatch=True))
def test_any_text_is_either_read_or_refused_by_one_error(text: str) -> None:
    try:
        outcome = 0 <= seconds(text, option="timeout") <= LONGEST
    except ConfigError as error:
        outcome = str(error).startswith("timeout: ")
    assert outcome
