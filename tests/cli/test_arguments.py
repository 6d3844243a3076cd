"""What the command line refuses, how, and what it makes of the rest."""

from __future__ import annotations

import argparse
import re
import runpy
import sys
from pathlib import Path

import pytest

from cenote import __version__
from cenote.cli import arguments, main
from cenote.cli.arguments import POOL, pool_options
from cenote.cli.dialects import statements
from cenote.cli.worlds import Absent, make
from cenote.errors import ConfigError
from cenote.options import Options
from tests.cli.commands import refused

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "demo.md"


def parsed(*argv: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    arguments.add(parser)
    return parser.parse_args(argv)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--seconds", "-1"], ["--seconds", "from 0 up", "'-1'"]),
        (["--seconds", "nan"], ["--seconds", "'nan'"]),
        (["--seconds", "soon"], ["--seconds", "'soon'", "--seconds 10"]),
        (["--workers", "1"], ["--workers", "from 2 to 2000", "'1'"]),
        (["--workers", "9" * 5000], ["--workers"]),
        (["--max-open", "0"], ["--max-open", "from 1 up", "got 0"]),
        (["--max-lifetime", "15"], ["--max-lifetime", "needs a unit", "15s"]),
        (["--max-opne", "3"], ["--max-opne"]),
        (["--max", "3"], ["--max"]),
        (["--min-idle", "9"], ["min_idle", "max_open=4", "got 9"]),
        (["--url", ""], ["--url"]),
        (["--url", "app.db"], ["'app.db' is not a URL", "sqlite:///app.db"]),
        (["--url", "postgrsql://app@db/app"], ["postgrsql://", "did you mean postgresql://"]),
        (["--url", "sqlite:///app.db?max_open=0"], ["max_open", "got 0"]),
        (["--url", "sqlite:///app.db?max_opne=1"], ["max_opne"]),
    ],
)
def test_a_wrong_argument_is_refused_in_one_line(
    capsys: pytest.CaptureFixture[str], argv: list[str], words: list[str]
) -> None:
    line = refused(capsys, "demo", *argv)
    assert line.startswith("cenote")
    assert [word for word in words if word not in line] == []


@pytest.mark.parametrize(
    "argv",
    [
        ["demo", "postgresql://app:s3cret@db/app"],
        ["postgresql://app:s3cret@db/app"],
        ["demo", "--dsn=postgresql://app:s3cret@db/app"],
        ["demo", "--seconds", "postgresql://app:s3cret@db/app"],
        ["demo", "--url", "postgresql://app:s3cret'\"@db:port/app"],
        ["demo", "--url", "foo://app:s3cret@db/app"],
        ["demo", "--url", "postgresql://app:s3cret@db/app?max_open=x"],
        ["demo", "--url", "postgresql://app:s3cret@db/app?nonsense=x"],
    ],
)
def test_no_error_shows_a_password(capsys: pytest.CaptureFixture[str], argv: list[str]) -> None:
    assert "s3cret" not in refused(capsys, *argv)


def test_a_command_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert "COMMAND" in refused(capsys)


def test_without_rich_the_extra_to_install_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rich", None)
    assert "pip install 'cenote[cli]'" in refused(capsys, "demo")


def test_help_needs_no_rich(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich", None)
    with pytest.raises(SystemExit) as end:
        main(["demo", "--help"])
    assert end.value.code == 0
    assert "--max-open N" in capsys.readouterr().out


def test_the_package_runs_as_a_module(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["cenote", "--version"])
    with pytest.raises(SystemExit) as end:
        runpy.run_module("cenote.cli", run_name="__main__")
    assert end.value.code == 0
    assert capsys.readouterr().out == f"cenote {__version__}\n"


def test_a_flag_wins_over_the_url_and_the_url_over_the_demo() -> None:
    options = pool_options(parsed("--max-open", "7"), "sqlite:///app.db?max_open=5&max_lifetime=3s")
    assert (options.max_open, options.max_lifetime, options.max_idle_time) == (7, 3.0, 2.0)


def test_every_flag_is_in_the_guide_with_its_default() -> None:
    rows = re.findall(r"^\| `--([a-z-]+)` \| (.*?) \|", GUIDE.read_text(), re.MULTILINE)
    assert {flag.replace("-", "_") for flag, _ in rows} == {"url", "seconds", "workers", "plain", *POOL}
    shown = dict(rows)
    for name, default in POOL.items():
        if default is not None:
            assert shown[name.replace("_", "-")] == str(default)


def made(url: str) -> dict[str, str]:
    """The driver of each world on that URL, or why it is absent."""
    worlds = make(url, Options.from_url, "a_table")
    shown = {one.kind: one.reason if isinstance(one, Absent) else one.driver for one in worlds}
    for world in worlds:
        if not isinstance(world, Absent):
            world.close()
    return shown


@pytest.mark.parametrize(
    ("url", "threads", "tasks"),
    [
        ("sqlite:///app.db", "sqlite3", "aiosqlite"),
        ("postgresql://app@db/app", "psycopg", "psycopg"),
        ("postgres://app@db/app", "psycopg", "psycopg"),
        ("postgresql+psycopg://app@db/app", "psycopg", "psycopg"),
        ("postgresql+psycopg2://app@db/app", "psycopg2", "psycopg"),
        ("postgresql+asyncpg://app@db/app", "psycopg", "asyncpg"),
        ("POSTGRES+ASYNCPG://app@db/app", "psycopg", "asyncpg"),
    ],
)
def test_a_driver_of_one_world_leaves_the_usual_one_to_the_other(url: str, threads: str, tasks: str) -> None:
    assert made(url) == {"threads": threads, "tasks": tasks}


def test_a_parameter_of_one_driver_leaves_the_other_world_out() -> None:
    worlds = made("postgresql+asyncpg://app:s3cret@db/app?statement_cache_size=0")
    assert worlds["tasks"] == "asyncpg"
    assert "statement_cache_size" in worlds["threads"]
    assert "s3cret" not in worlds["threads"]


def test_a_world_whose_driver_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cenote.drivers.aiosqlite", None)
    worlds = made("sqlite:///app.db")
    assert worlds["threads"] == "sqlite3"
    assert "pip install 'cenote[sqlite]'" in worlds["tasks"]


@pytest.mark.parametrize(
    ("url", "missing", "extra"),
    [
        ("postgresql://app@db/app", "psycopg", "postgresql"),
        ("postgresql+asyncpg://app@db/app", "asyncpg", "asyncpg"),
        ("postgresql+psycopg2://app@db/app", "psycopg2", "psycopg2"),
    ],
)
def test_the_driver_that_the_url_names_has_to_be_installed(
    monkeypatch: pytest.MonkeyPatch, url: str, missing: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, f"cenote.drivers.{missing}", None)
    with pytest.raises(ConfigError, match=rf"pip install 'cenote\[{extra}\]'"):
        made(url)


def test_all_statements_name_the_demo_table_and_no_other() -> None:
    sql = statements("cenote_demo_0a1b", lambda number: f"${number}")
    assert [one for one in sql if one.count("cenote_demo_0a1b") != 1] == []
    assert sql.insert.endswith("values ($1, $2, $3)")
