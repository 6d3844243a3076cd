"""Options: defaults, what is refused and how, and the four ways to write them down."""

from __future__ import annotations

import argparse
import math
import pickle
from dataclasses import FrozenInstanceError, fields
from datetime import timedelta
from typing import Any, get_type_hints
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cenote.errors import ConfigError
from cenote.options import (
    ALIASES,
    OPTION_NAMES,
    Options,
    OptionsDict,
    add_arguments,
    default_name,
    redact,
    scrub,
    split_url,
)

URL = "postgresql://app@db/app"


def test_the_defaults_are_the_promised_ones() -> None:
    found = {item.name: getattr(Options(), item.name) for item in fields(Options)}
    assert found == {
        "dsn": None,
        "max_open": 25,
        "max_idle": None,
        "min_idle": 0,
        "max_lifetime": 3600.0,
        "max_idle_time": 900.0,
        "keepalive": None,
        "ping_after": 60.0,
        "timeout": 30.0,
        "connect_timeout": 5.0,
        "max_waiting": None,
        "on_full": "wait",
        "max_overflow": 10,
        "max_connecting": 4,
        "name": None,
        "reset": None,
        "warn_held": None,
    }


def test_fields_keywords_and_names_agree() -> None:
    names = [item.name for item in fields(Options)]
    assert names == ["dsn", *OPTION_NAMES]
    assert tuple(get_type_hints(OptionsDict)) == OPTION_NAMES


def test_values_are_read_into_counts_and_seconds() -> None:
    options = Options.of(
        URL, max_open=5, max_lifetime=timedelta(hours=2), max_idle_time="1h30m", timeout=2, keepalive="250ms"
    )
    assert (options.dsn, options.max_open) == (URL, 5)
    assert (options.max_lifetime, options.max_idle_time) == (7200.0, 5400.0)
    assert (options.timeout, options.keepalive) == (2.0, 0.25)
    assert type(options.timeout) is float


@pytest.mark.parametrize(
    "name",
    [
        "max_open",
        "max_idle",
        "max_lifetime",
        "max_idle_time",
        "keepalive",
        "ping_after",
        "timeout",
        "max_waiting",
        "name",
        "reset",
        "warn_held",
    ],
)
def test_none_switches_an_option_off(name: str) -> None:
    raw: dict[str, Any] = {name: None}
    assert getattr(Options.of(**raw), name) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("timeout", 0),
        ("ping_after", 0),
        ("max_idle", 0),
        ("max_waiting", 0),
        ("min_idle", 25),
        ("max_open", 1),
    ],
)
def test_the_lowest_and_highest_values_are_accepted(name: str, value: int) -> None:
    raw: dict[str, Any] = {name: value}
    assert getattr(Options.of(**raw), name) == value


WHOLE_1 = "a whole number from 1 up"
WHOLE_0 = "a whole number from 0 up"
ABOVE_0 = "a duration above 0"
ABOVE_0_OR_AUTO = f"{ABOVE_0}, or 'auto'"
FULL = "'wait' or 'overflow' or 'reject'"
NAME = "printable text without a password"
REFUSED: list[tuple[str, tuple[object, ...], str, str]] = [
    ("max_open", (0, -1, True, 2.0, "5", math.inf), WHOLE_1, "25, or None for no limit"),
    ("max_idle", (-1, False, 1.5, "5"), WHOLE_0, "25, or None for as many as max_open"),
    ("min_idle", (-1, None, True, "0"), WHOLE_0, "0"),
    ("max_lifetime", (0, "0", "0s", 0.0), ABOVE_0, "'1h', or None for no limit"),
    ("max_idle_time", (0, "0s"), ABOVE_0, "'15m', or None for no limit"),
    ("keepalive", (0, "0s"), ABOVE_0_OR_AUTO, "'30s', or None for never"),
    ("connect_timeout", (0, "0s", None), ABOVE_0, "'5s'"),
    ("warn_held", (0, "0s"), ABOVE_0, "'30s', or None for never"),
    ("max_waiting", (-1, True, "1"), WHOLE_0, "100, or None for no limit"),
    ("on_full", ("drop", "WAIT", "", None, 1, []), FULL, "'wait'"),
    ("max_overflow", (0, -1, None, True), WHOLE_1, "10"),
    ("max_connecting", (0, -1, None, True), WHOLE_1, "4"),
    ("name", ("", " ", "a\nb", 1, b"x"), NAME, "'orders', or None for the URL's own"),
    ("reset", ("all", True, 1, ""), "'session'", "'session', or None for not cleared"),
]


@pytest.mark.parametrize(
    ("name", "value", "want", "remedy"),
    [(name, value, want, remedy) for name, values, want, remedy in REFUSED for value in values],
)
def test_a_bad_value_gets_one_error_with_option_value_and_remedy(
    name: str, value: object, want: str, remedy: str
) -> None:
    raw: dict[str, Any] = {name: value}
    expected = f"{name}: must be {want}, got {value!r}; write {remedy}"
    for attempt in (Options.of, Options, Options().replace):
        with pytest.raises(ConfigError) as caught:
            attempt(**raw)
        assert str(caught.value) == expected


DURATIONS = [
    "max_lifetime",
    "max_idle_time",
    "keepalive",
    "ping_after",
    "timeout",
    "connect_timeout",
    "warn_held",
]


@pytest.mark.parametrize("name", DURATIONS)
@pytest.mark.parametrize("value", [-1, "-1s", math.nan, math.inf, True, "30", "soon", b"1s"])
def test_a_bad_duration_gets_one_error_that_begins_with_its_option(name: str, value: object) -> None:
    raw: dict[str, Any] = {name: value}
    with pytest.raises(ConfigError) as caught:
        Options.of(**raw)
    message = str(caught.value)
    assert message.startswith(f"{name}: ")
    assert f"got {value!r}; write " in message


@pytest.mark.parametrize("dsn", [b"postgresql://app:hunter2@db", "", 5])
def test_a_dsn_that_is_no_text_is_refused_without_showing_it(dsn: Any) -> None:
    for attempt in (Options.of, Options.from_url, split_url):
        with pytest.raises(
            ConfigError, match=r"^dsn: must be a URL as text, got \w+( text)?; write "
        ) as caught:
            attempt(dsn)
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("max_opne", "max_open"),
        ("max_open_conns", "max_open"),
        ("max_idletime", "max_idle_time"),
        ("time_out", "timeout"),
        ("keep_alive", "keepalive"),
        ("onfull", "on_full"),
    ],
)
def test_an_unknown_option_suggests_the_nearest_name(wrong: str, right: str) -> None:
    raw: dict[str, Any] = {wrong: 1}
    for attempt in (Options.of, Options().replace):
        with pytest.raises(TypeError) as caught:
            attempt(**raw)
        assert str(caught.value) == f"unknown option {wrong!r}; did you mean {right!r}?"


def test_an_unknown_option_like_no_other_lists_them_all() -> None:
    raw: dict[str, Any] = {"zzz": 1}
    with pytest.raises(TypeError) as caught:
        Options.of(**raw)
    assert str(caught.value) == f"unknown option 'zzz'; the options are {', '.join(OPTION_NAMES)}"


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"min_idle": 26}, "must not be above max_open=25, got 26; lower it or raise max_open"),
        ({"min_idle": 3, "max_idle": 2}, "must not be above max_idle=2, got 3; lower it or raise max_idle"),
        (
            {"min_idle": 9, "max_idle": 20, "max_open": 8},
            "must not be above max_open=8, got 9; lower it or raise max_open",
        ),
    ],
)
def test_more_warm_connections_than_may_be_idle_are_refused(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Options.of(**raw)
    assert str(caught.value) == f"min_idle: {message}"


def test_an_overflow_that_cannot_happen_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        Options.of(max_overflow=5)
    assert str(caught.value) == (
        "max_overflow: has no effect with on_full='wait', got 5; leave it out or write on_full='overflow'"
    )


def test_an_overflow_may_sleep_while_another_policy_rules() -> None:
    overflow = Options.of(on_full="overflow", max_overflow=5)
    waiting = overflow.replace(on_full="wait")
    assert waiting.max_overflow == 5
    with pytest.raises(ConfigError, match=r"^max_overflow: has no effect"):
        waiting.replace(max_overflow=6)


@pytest.mark.parametrize(
    ("raw", "idle_limit", "limit"),
    [
        ({}, 25, 25),
        ({"max_idle": 3}, 3, 25),
        ({"max_idle": 50}, 25, 25),
        ({"max_idle": 0}, 0, 25),
        ({"max_open": None}, math.inf, math.inf),
        ({"max_open": None, "max_idle": 2}, 2, math.inf),
        ({"on_full": "overflow"}, 25, 35),
        ({"on_full": "overflow", "max_overflow": 1, "max_open": 1}, 1, 2),
        ({"on_full": "reject"}, 25, 25),
        ({"on_full": "overflow", "max_open": None}, math.inf, math.inf),
    ],
)
def test_the_limits_follow_from_the_options(raw: dict[str, Any], idle_limit: float, limit: float) -> None:
    options = Options.of(**raw)
    assert (options.idle_limit, options.limit) == (idle_limit, limit)


def test_replace_checks_together_with_what_stays() -> None:
    options = Options.of(URL, min_idle=10)
    smaller = options.replace(max_open=12, timeout="5s")
    assert (smaller.dsn, smaller.min_idle, smaller.max_open, smaller.timeout) == (URL, 10, 12, 5.0)
    assert options.max_open == 25
    with pytest.raises(ConfigError, match=r"^min_idle: must not be above max_open=5, got 10"):
        options.replace(max_open=5)


def test_options_are_frozen_comparable_hashable_and_picklable() -> None:
    options = Options.of(URL, timeout="2s")
    assert options == Options.of(URL, timeout=2)
    assert hash(options) == hash(Options.of(URL, timeout=2))
    assert pickle.loads(pickle.dumps(options)) == options  # noqa: S301 - our own bytes
    with pytest.raises(FrozenInstanceError):
        options.max_open = 3  # type: ignore[misc]  # what is tested


def test_a_repr_shows_what_was_changed_and_no_password() -> None:
    options = Options.of("postgresql://app:hunter2@db/app", max_open=5, timeout=None)
    assert repr(options) == "Options(dsn='postgresql://app:***@db/app', max_open=5, timeout=None)"
    assert repr(Options()) == "Options()"


@pytest.mark.parametrize("name", [*DURATIONS, "name", "max_open", "on_full"])
def test_a_url_in_the_place_of_an_option_is_refused_without_its_password(name: str) -> None:
    raw: dict[str, Any] = {name: "postgresql://app:hunter2@db/app"}
    with pytest.raises(ConfigError, match=rf"^{name}: must be .*app:\*\*\*@db") as caught:
        Options.of(**raw)
    assert "hunter2" not in str(caught.value)


# --- URLs


@pytest.mark.parametrize(
    ("url", "options", "rest"),
    [
        (URL, {}, URL),
        (URL + "?", {}, URL + "?"),
        (URL + "?max_open=5", {"max_open": "5"}, URL),
        (
            URL + "?b=%2f&max_open=5&a=x%20y+z&&timeout=2s&b=2&flag#x",
            {"max_open": "5", "timeout": "2s"},
            URL + "?b=%2f&a=x%20y+z&&b=2&flag#x",
        ),
        (URL + "?max%5Fopen=%35", {"max_open": "5"}, URL),
        (URL + "?max_open", {"max_open": ""}, URL),
        (URL + "?dsn=x&max_opne=3&MAX_OPEN=4", {}, URL + "?dsn=x&max_opne=3&MAX_OPEN=4"),
        (URL + "?proxy=http://p/?timeout=5s", {}, URL + "?proxy=http://p/?timeout=5s"),
        ("redis://db?max_open=5&who=a@b", {"max_open": "5"}, "redis://db?who=a@b"),
        ("pg://app:p?w@db/app?max_open=5&x=1", {"max_open": "5"}, "pg://app:p?w@db/app?x=1"),
        ("pg://app:p/w#@db/app?max_open=5", {"max_open": "5"}, "pg://app:p/w#@db/app"),
        ("pg://app:p@db,[::1]:5432/app?max_open=5", {"max_open": "5"}, "pg://app:p@db,[::1]:5432/app"),
        ("sqlite:///a#b.db?mode=ro&max_open=1", {"max_open": "1"}, "sqlite:///a#b.db?mode=ro"),
        ("host=db password=a?max_open=5", {}, "host=db password=a?max_open=5"),
    ],
)
def test_options_leave_the_url_and_the_rest_stays(url: str, options: dict[str, str], rest: str) -> None:
    assert split_url(url) == (options, rest)


PARAMETERS = st.text("abcxyz%20+=/:@?#;.", max_size=12).filter(
    lambda text: not any(text.startswith(name) for name in OPTION_NAMES)
)


@given(st.lists(PARAMETERS, min_size=1, max_size=6), st.integers(min_value=0, max_value=6))
def test_driver_parameters_stay_byte_for_byte_and_in_order(parameters: list[str], place: int) -> None:
    mixed = [*parameters[:place], "max_open=5", *parameters[place:]]
    options, rest = split_url(f"{URL}?{'&'.join(mixed)}")
    assert options == {"max_open": "5"}
    assert rest == f"{URL}?{'&'.join(parameters)}"


def test_an_option_twice_in_the_url_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        split_url(URL + "?max_open=5&x=1&max_open=6")
    assert str(caught.value) == "max_open (in the URL): given twice, got '6' again; keep one of them"


TEXTS: list[tuple[str, str, object]] = [
    ("max_open", "10", 10),
    ("max_open", "none", None),
    ("max_open", "None", None),
    ("max_idle", "0", 0),
    ("min_idle", "2", 2),
    ("max_lifetime", "1h30m", 5400.0),
    ("max_idle_time", "15m", 900.0),
    ("keepalive", "none", None),
    ("keepalive", "auto", "auto"),
    ("keepalive", "AUTO", "auto"),
    ("ping_after", "0", 0.0),
    ("timeout", "250ms", 0.25),
    ("connect_timeout", "2s", 2.0),
    ("max_waiting", "100", 100),
    ("on_full", "reject", "reject"),
    ("max_connecting", "2", 2),
    ("name", "orders", "orders"),
    ("reset", "session", "session"),
    ("warn_held", "1m", 60.0),
]
BAD_TEXTS = [
    ("max_open", "ten", f"must be {WHOLE_1}, got 'ten'; write 25, or None for no limit"),
    ("max_open", "0", f"must be {WHOLE_1}, got 0; write 25, or None for no limit"),
    ("max_open", "1_0", f"must be {WHOLE_1}, got '1_0'; write 25, or None for no limit"),
    ("max_open", "", f"must be {WHOLE_1}, got ''; write 25, or None for no limit"),
    ("min_idle", "none", f"must be {WHOLE_0}, got 'none'; write 0"),
    ("timeout", "30", "a duration in text needs a unit, got '30'; write '30s' for seconds"),
    ("keepalive", "0", f"must be {ABOVE_0_OR_AUTO}, got '0'; write '30s', or None for never"),
    ("on_full", "drop", f"must be {FULL}, got 'drop'; write 'wait'"),
]


def variable_of(name: str) -> str:
    return f"DB_{next(alias for alias, option in ALIASES.items() if option == name).upper()}"


def flag_of(name: str) -> str:
    return "--" + variable_of(name).lower().replace("_", "-")


def parsed(*arguments: str, prefix: str = "db") -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="service")
    add_arguments(parser, prefix)
    return parser.parse_args(arguments)


@pytest.mark.parametrize(("name", "text", "value"), TEXTS)
def test_text_is_read_alike_from_url_variable_and_flag(name: str, text: str, value: object) -> None:
    raw: dict[str, Any] = {name: value}
    expected = Options.of(URL, **raw)
    assert Options.from_url(f"{URL}?{name}={text}") == expected
    assert Options.from_env(environ={"DB_DSN": URL, variable_of(name): text}) == expected
    assert Options.from_args(parsed("--db-dsn", URL, flag_of(name), text)) == expected


@pytest.mark.parametrize(("name", "text", "message"), BAD_TEXTS)
def test_bad_text_is_refused_with_the_place_it_stood_in(
    name: str, text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        Options.from_url(f"{URL}?{name}={text}")
    assert str(caught.value) == f"{name} (in the URL): {message}"
    with pytest.raises(ConfigError) as caught:
        Options.from_env(environ={"DB_DSN": URL, variable_of(name): text})
    assert str(caught.value) == f"{variable_of(name)} ({name}): {message}"
    with pytest.raises(SystemExit) as ended:
        parsed("--db-dsn", URL, flag_of(name), text)
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith(f"error: argument {flag_of(name)}: {name}: {message}\n")


def test_a_keyword_wins_over_the_url() -> None:
    options = Options.from_url(URL + "?max_open=5&x=1&timeout=1s", max_open=7, min_idle=2)
    assert options == Options.of(URL + "?x=1", max_open=7, min_idle=2, timeout=1)


# --- variables


def test_every_option_has_a_variable_with_gos_names_where_it_has_them() -> None:
    assert sorted(ALIASES.values()) == sorted(OPTION_NAMES)
    renamed = {alias: name for alias, name in ALIASES.items() if alias != name}
    assert renamed == {
        "max_open_conns": "max_open",
        "max_idle_conns": "max_idle",
        "conn_max_lifetime": "max_lifetime",
    }


@pytest.mark.parametrize("environ", [{}, {"DB_DSN": ""}])
def test_a_missing_dsn_variable_is_named(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as caught:
        Options.from_env(environ=environ)
    assert str(caught.value) == (
        "DB_DSN: not set; set it to the database's URL, like 'postgresql://app@db/app'"
    )


def test_a_variable_wins_over_the_url_and_others_are_not_read() -> None:
    environ = {
        "DB_DSN": URL + "?max_open=5&timeout=1s",
        "DB_MAX_OPEN_CONNS": "7",
        "DB_HOST": "x",
        "TIMEOUT": "x",
    }
    assert Options.from_env(environ=environ) == Options.of(URL, max_open=7, timeout=1)


def test_the_process_environment_and_another_prefix_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("READ_DB_DSN", URL)
    monkeypatch.setenv("READ_DB_CONN_MAX_LIFETIME", "2h")
    assert Options.from_env("READ_DB_") == Options.of(URL, max_lifetime="2h")


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("DB_MAX_OPEN", "DB_MAX_OPEN_CONNS"),
        ("DB_MAX_IDLE", "DB_MAX_IDLE_CONNS"),
        ("DB_MAX_LIFETIME", "DB_CONN_MAX_LIFETIME"),
    ],
)
def test_a_variable_that_would_be_overlooked_is_refused(wrong: str, right: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Options.from_env(environ={"DB_DSN": URL, wrong: "5"})
    assert str(caught.value) == f"{wrong}: not a variable that is read, got '5'; write {right}"


def test_variables_that_contradict_each_other_are_named() -> None:
    environ = {"DB_DSN": URL, "DB_MIN_IDLE": "5", "DB_MAX_IDLE_CONNS": "2"}
    with pytest.raises(ConfigError) as caught:
        Options.from_env(environ=environ)
    assert str(caught.value) == (
        "min_idle: must not be above max_idle=2, got 5; lower it or raise max_idle "
        "(read from DB_DSN, DB_MAX_IDLE_CONNS, DB_MIN_IDLE)"
    )


# --- flags


def test_the_flags_of_go_programs_are_understood() -> None:
    namespace = parsed(
        *("--db-dsn", URL, "--db-max-open-conns", "20", "--db-max-idle-conns=10"),
        *("--db-max-idle-time", "10m", "--db-conn-max-lifetime", "2h", "--db-timeout", "none"),
    )
    assert Options.from_args(namespace) == Options.of(
        URL, max_open=20, max_idle=10, max_idle_time="10m", max_lifetime="2h", timeout=None
    )


def test_a_flag_wins_over_the_url_and_a_flag_not_given_does_not() -> None:
    namespace = parsed("--db-dsn", URL + "?max_open=5&timeout=1s", "--db-max-open-conns", "7")
    assert Options.from_args(namespace) == Options.of(URL, max_open=7, timeout=1)


@pytest.mark.parametrize(
    ("prefix", "flag"), [("read-db", "--read-db-"), ("read_db", "--read-db-"), ("", "--")]
)
def test_flags_with_another_prefix_are_read(prefix: str, flag: str) -> None:
    namespace = parsed(f"{flag}dsn", URL, f"{flag}max-open-conns", "3", prefix=prefix)
    assert Options.from_args(namespace, prefix) == Options.of(URL, max_open=3)


def test_two_prefixes_live_in_one_parser() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser, "read")
    add_arguments(parser, "write")
    namespace = parser.parse_args(["--read-dsn", URL, "--write-dsn", URL, "--write-max-open-conns", "2"])
    assert Options.from_args(namespace, "read") == Options.of(URL)
    assert Options.from_args(namespace, "write") == Options.of(URL, max_open=2)


def test_a_missing_dsn_flag_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        Options.from_args(parsed())
    assert str(caught.value) == (
        "--db-dsn: not given; give the database's URL, like 'postgresql://app@db/app'"
    )


def test_flags_that_contradict_each_other_are_named() -> None:
    with pytest.raises(ConfigError, match=r"\(read from --db-dsn, --db-max-overflow\)$"):
        Options.from_args(parsed("--db-dsn", URL, "--db-max-overflow", "3"))


def test_a_bad_url_flag_is_a_usage_error_without_its_password(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parsed("--db-dsn", "postgresql://app:hunter2@db/app?max_open=0")
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert f"argument --db-dsn: max_open (in the URL): must be {WHOLE_1}, got 0" in error
    assert "hunter2" not in error


def test_the_help_tells_defaults_and_units() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    text = " ".join(parser.format_help().split())
    assert "A DURATION has a unit, like 1h30m, 15m or 250ms." in text
    assert "--db-max-open-conns N" in text
    assert "connecting ones included (default: 25; none is no limit)" in text
    assert "--db-max-idle-time DURATION" in text
    assert "(default: 15m; none is no limit)" in text
    assert "--db-on-full {wait,overflow,reject}" in text
    for name in OPTION_NAMES:
        assert flag_of(name) in text


# --- secrets


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (URL, URL),
        ("postgresql://app:hunter2@db:5432/app?x=1", "postgresql://app:***@db:5432/app?x=1"),
        ("postgresql://app:@db/app", "postgresql://app:***@db/app"),
        ("postgresql://db:5432/app", "postgresql://db:5432/app"),
        ("postgresql://[::1]:5432,db:/app", "postgresql://[::1]:5432,db:/app"),
        ("redis://:hunter2@db/0", "redis://:***@db/0"),
        ("pg://app%3Ahunter2@db", "pg://app%3A***@db"),
        ("pg://a@corp:hunter2@db", "pg://a@corp:***@db"),
        ("pg://app:hunter2/app", "pg://app:***"),
        ("app:hunter2@tcp(db:3306)/app", "app:***@tcp(db:3306)/app"),
        ("pg:/app:hunter2@db", "pg:***@db"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("sqlite:///C:/data/app.db", "sqlite:///C:/data/app.db"),
        ("pg://db/app?user=a&password=hunter2&x=1", "pg://db/app?user=a&password=***&x=1"),
        ("pg://db/app?p%61ssword=hunter2", "pg://db/app?p%61ssword=***"),
        ("pg://db/app?sslpassword=hunter2&sslkey=/k", "pg://db/app?sslpassword=***&sslkey=/k"),
        ("pg://db/app?PASSWD=hunter2", "pg://db/app?PASSWD=***"),
        ("pg://db/app?auth_token=hunter2;x", "pg://db/app?auth_token=***"),
        ("pg://db/app?api-key=hunter2&client_secret=hunter2", "pg://db/app?api-key=***&client_secret=***"),
        ("pg://db/app?pwd=hunter2&hunter2&x=1", "pg://db/app?pwd=***&x=1"),
        ("pg://db/app?passfile=/etc/pg&authSource=a", "pg://db/app?passfile=/etc/pg&authSource=a"),
        ("pg://app:hunter2@db?password=hunter2", "pg://app:***@db?password=***"),
        ("pg://app:hunter2@db?password=hunt@er2", "pg://app:***"),
        ("host=db password=hunter2 user=app", "host=db password=*** user=app"),
        ("password = 'hunter2 \\' x=hunter2' user=app", "password = *** user=app"),
        ("host=db password=hunter\\ 2=2 user=app", "host=db password=*** user=app"),
        ("host=db password='hunter2 user=app", "host=db password=***"),
        ("host=db password=hun ter2 user=app", "host=db password=*** user=app"),
        ("jdbc:sqlserver://db:1433;user=a;password=hunter2", "jdbc:sqlserver://db:1433;user=a;password=***"),
        ("", ""),
    ],
)
def test_secrets_are_hidden_and_the_rest_stays_readable(url: str, shown: str) -> None:
    assert redact(url) == shown
    assert "hunter2" not in default_name(url)


# Letters that occur nowhere else, so that any piece of a password that shows is found.
PASSWORDS = st.text("XYZ@:/?#%&= ;,[]'", min_size=1, max_size=12).map(lambda text: f"X{text}Y")


def shows(text: str) -> bool:
    return any(letter in text for letter in "XYZ")


@given(
    PASSWORDS,
    st.sampled_from(["postgresql://app:{}@db:5432/app?application_name=x", "app:{}@db", "redis://:{}@db"]),
)
@example("X@:/?#%Y", "postgresql://app:{}@db/app?sslmode=require")
@example("X?token=Y@Z", "postgresql://app:{}@db/app")
def test_no_piece_of_a_raw_password_before_the_host_shows(password: str, template: str) -> None:
    url = template.format(password)
    assert not shows(redact(url))
    assert not shows(repr(Options.of(url)))
    assert not shows(default_name(url))


@given(
    PASSWORDS,
    st.sampled_from(["pg://app:{}@db/app", "pg://db/app?password={}&x=1", "pg://app@db?x=1&sslpassword={}"]),
)
def test_no_piece_of_an_encoded_password_shows(password: str, template: str) -> None:
    url = template.format(quote(password, safe=""))
    shown = redact(url)
    assert not shows(shown)
    assert shown == template.format("***")


@given(PASSWORDS.map(lambda text: text.replace("&", "+")))
def test_no_piece_of_a_raw_password_in_the_query_shows(password: str) -> None:
    assert not shows(redact(f"postgresql://app@db/app?password={password}&sslmode=require"))


@given(PASSWORDS)
def test_no_piece_of_a_password_in_a_keyword_string_shows(password: str) -> None:
    quoted = password.replace("\\", "\\\\").replace("'", "\\'")
    escaped = quoted.replace(" ", "\\ ")
    assert redact(f"host=db password='{quoted}' user=app") == "host=db password=*** user=app"
    assert redact(f"host=db password={escaped} user=app") == "host=db password=*** user=app"


@pytest.mark.parametrize(
    ("url", "text", "shown"),
    [
        ("pg://app:hunt%402@db", "bad hunt%402, bad hunt@2", "bad ***, bad ***"),
        ("host=db password='it\\'s me'", "no 'it\\'s me' or it's me", "no *** or ***"),
        ("pg://db?password=hunter2&token=hunter", "hunter2 hunter", "*** ***"),
        ("pg://app:@db", "nothing to hide", "nothing to hide"),
        (None, "nothing to hide", "nothing to hide"),
    ],
)
def test_the_secrets_of_a_url_are_hidden_in_other_texts(url: str | None, text: str, shown: str) -> None:
    assert scrub(text, url) == shown


@given(st.text(max_size=40) | st.text("ab:@/?=,[]% ", max_size=20))
@example("")
@example(" \n")
@example("[::1]:5432/app")
@example("db;password=x")
def test_every_url_gives_a_name_that_a_pool_may_carry(rest: str) -> None:
    for scheme in ("postgresql", "sqlite"):
        name = default_name(f"{scheme}://{rest}")
        assert Options.of(name=name).name == name


@given(st.text(max_size=60))
def test_any_text_can_be_redacted_and_named_and_stays_so(text: str) -> None:
    assert redact(redact(text)) == redact(text)
    assert default_name(text)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        (URL, "app@db/app"),
        ("postgresql+asyncpg://app:hunter2@db:5433/app?max_open=5", "app@db:5433/app"),
        ("postgresql:///app", "app"),
        ("postgresql://", "postgresql"),
        ("redis://:hunter2@db:6379/0", "db:6379/0"),
        ("redis://db/", "db"),
        ("unix:///run/redis.sock?db=1", "redis.sock"),
        ("sqlite://", ":memory:"),
        ("sqlite:///:memory:", ":memory:"),
        ("sqlite:////var/lib/orders.db?mode=ro", "orders.db"),
        ("sqlite:///orders.db", "orders.db"),
        ("host=db password=hunter2", "pool"),
    ],
)
def test_a_pool_is_named_after_its_url(url: str, name: str) -> None:
    assert default_name(url) == name
