"""The parts of ``cenote bench``: arguments, plan, words, tables, JSON, pictures."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from cenote.cli import bell
from cenote.cli.bench import arguments, load, plot
from cenote.cli.bench.arguments import NAMES, Plan
from cenote.cli.bench.experiments import EXPERIMENTS
from cenote.cli.bench.families import FAMILIES
from cenote.cli.bench.inserts import LIFETIME, MAX_IDLE, MAX_OPEN
from cenote.cli.bench.report import Report, parts
from cenote.cli.bench.results import Column, Result, Row, compare, plural, whole
from cenote.cli.bench.site import Failed, Site, Witness, with_account
from cenote.cli.dialects import THREADS
from cenote.errors import ConfigError
from tests.cli.commands import refused
from tests.cli.pictures import drawn

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "bench.md"
COLUMNS = (Column("ns_per_op", "ns/op", whole), Column("ops", "INSERTs", whole))


def row(label: str, ns: float, **changes: Any) -> Row:
    usual: dict[str, Any] = {
        "label": label,
        "settings": {"max_open": label},
        "values": {"ns_per_op": ns, "ops": 100.0},
        "rounds": (ns, ns),
    }
    return Row(**usual | changes)


def report(*results: Result) -> Report:
    return Report("postgresql://app:***@db/app", "PostgreSQL 15", "psycopg", Plan(), results)


FOUND = Result(
    name="max-open",
    title="parallel INSERTs by max_open",
    columns=COLUMNS,
    rows=(row("1", 3_129_633), row("10", 545_394), row("unlimited", 531_030)),
    shape=("10 open: 5.7 x faster than 1",),
    notes=("as it should be",),
)


# ── arguments and plan ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], ["URL"]),
        (["app.db"], ["'app.db' is not a URL"]),
        (["sqlite://", "--only", "speed"], ["--only", "'speed'", "max-open"]),
        (["sqlite://", "--workers", "1"], ["--workers", "from 2 to 50", "'1'"]),
        (["sqlite://", "--workers", "9" * 5000], ["--workers"]),
        (["sqlite://", "--scale", "0"], ["--scale", "from 0.001 to 100", "'0'"]),
        (["sqlite://", "--scale", "fast"], ["--scale", "'fast'", "--scale 2"]),
        (["sqlite://", "--plot", "bench.jpg"], ["--plot", ".png or .svg", "'bench.jpg'"]),
        (["sqlite://", "--plot", "nowhere/bench.png"], ["--plot", "folder that exists", "nowhere"]),
        (["sqlite://", "--json", "."], ["--json", "must be a file", "'.'"]),
        (["sqlite://?max_open=3"], ["max_open (in the URL)", "leave it out"]),
        (["sqlite://?connect_timeout=3"], ["connect_timeout", "needs a unit"]),
        (["redis://db"], ["no SQL for redis"]),
        (["postgresql+asyncpg://app@db/app"], ["cenote.AsyncPool"]),
    ],
)
def test_a_wrong_argument_is_refused_in_one_line_before_anything_is_opened(
    capsys: pytest.CaptureFixture[str], argv: list[str], words: list[str]
) -> None:
    line = refused(capsys, "bench", *argv)
    assert line.startswith("cenote bench")
    assert [word for word in words if word not in line] == []


@pytest.mark.parametrize(
    "argv",
    [
        ["postgresql://app:s3cret@db:port/app"],
        ["postgresql://app:s3cret@db/app?max_open=3"],
        ["foo://app:s3cret@db/app"],
        ["sqlite://", "postgresql://app:s3cret@db/app"],
        ["sqlite://", "--scale", "postgresql://app:s3cret@db/app"],
    ],
)
def test_no_error_shows_a_password(capsys: pytest.CaptureFixture[str], argv: list[str]) -> None:
    assert "s3cret" not in refused(capsys, "bench", *argv)


def test_without_matplotlib_the_extra_is_named_before_anything_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    path = tmp_path / "app.db"
    line = refused(capsys, "bench", f"sqlite:///{path}", "--plot", str(tmp_path / "bench.png"))
    assert "pip install 'cenote[bench]'" in line
    assert not path.exists()


def parsed(*argv: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    arguments.add(parser)
    return parser.parse_args(argv)


def test_the_plan_has_all_experiments_in_their_order() -> None:
    plan = Plan.of(parsed("sqlite://"))
    assert plan.names == NAMES == tuple(one.name for one in EXPERIMENTS)
    assert (plan.workers, plan.rounds, plan.seconds, plan.scale) == (10, 3, 0.5, 1.0)


def test_only_chooses_and_full_takes_longer() -> None:
    plan = Plan.of(parsed("sqlite://", "--full", "--only", "sleep", "--only", "max-open", "--workers", "4"))
    assert plan.names == ("max-open", "sleep")
    assert (plan.workers, plan.rounds, plan.seconds) == (4, 7, 1.0)


def test_the_cases_are_those_of_the_experiments_known_from_go() -> None:
    assert [case.label for case in MAX_OPEN.cases] == ["1", "2", "5", "10", "unlimited"]
    assert [case.label for case in MAX_IDLE.cases] == ["none", "1", "2", "5", "10"]
    assert [case.label for case in LIFETIME.cases] == ["100ms", "200ms", "500ms", "1s", "unlimited"]


def test_every_threaded_driver_of_the_demo_has_its_family() -> None:
    assert set(FAMILIES) == set(THREADS)


def test_every_flag_is_in_the_guide() -> None:
    shown = set(re.findall(r"^\| `(--[a-z]+)", GUIDE.read_text(), re.MULTILINE))
    parser = argparse.ArgumentParser(add_help=False)
    arguments.add(parser)
    assert shown == {action.option_strings[0] for action in parser._actions if action.option_strings}


# ── words, tables, JSON ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("fast", "slow", "words"),
    [
        (545_394, 3_129_633, "10 open: 5.7 x faster than 1"),
        (3_129_633, 545_394, "10 open: 5.7 x slower than 1"),
        (100, 104, "10 open: as fast as 1"),
        (0, 104, "10 open: not to be compared with 1"),
    ],
)
def test_the_shape_is_told_in_words_whichever_way_it_turned_out(fast: float, slow: float, words: str) -> None:
    assert compare("10 open", fast, "1", slow) == words


def test_one_is_no_plural() -> None:
    assert [plural(count, "dial") for count in (0, 1, 2000)] == ["0 dials", "1 dial", "2,000 dials"]


def test_a_table_shows_every_case_its_figures_and_the_shape() -> None:
    text = "".join(drawn(part, 100) for part in parts(FOUND))
    assert "max-open: parallel INSERTs by max_open" in text
    assert re.search(r"^ *unlimited +531,030 +100 *$", text, re.MULTILINE)
    assert "10 open: 5.7 x faster than 1" in text
    assert "(as it should be)" in text


def test_a_case_without_figures_has_dashes() -> None:
    result = Result(
        name="sleep", title="", columns=COLUMNS, rows=(row("limited", 0, values={}, problem="no right"),)
    )
    text = "".join(drawn(part, 100) for part in parts(result))
    assert re.search(r"^ *limited +- +- *$", text, re.MULTILINE)


@pytest.mark.parametrize("what", ["not_run", "failed"])
def test_an_experiment_that_was_not_run_or_failed_says_why(what: str) -> None:
    result = Result(name="server-limit", title="", **{what: "needs the right to create a role"})  # type: ignore[arg-type]  # one of two texts
    text = "".join(drawn(part, 100) for part in parts(result))
    assert f"{what.replace('_', ' ')}: needs the right to create a role" in text


def test_the_json_has_all_figures_and_their_settings() -> None:
    found = json.loads(report(FOUND).as_json())
    assert set(found) == {
        "cenote",
        "python",
        "database",
        "server",
        "driver",
        "workers",
        "rounds",
        "seconds",
        "scale",
        "experiments",
    }
    (experiment,) = found["experiments"]
    assert set(experiment) == {"name", "title", "cases", "shape", "notes", "not_run", "failed"}
    assert experiment["cases"][1] == {
        "label": "10",
        "settings": {"max_open": "10"},
        "values": {"ns_per_op": 545_394, "ops": 100},
        "rounds": [545_394, 545_394],
        "problem": None,
    }


# ── the picture ─────────────────────────────────────────────────────────────────────────────────


def test_a_png_is_drawn(tmp_path: Path) -> None:
    plot.draw(report(FOUND), tmp_path / "bench.png")
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")


def test_an_svg_has_its_text_as_text_and_is_the_same_each_time(tmp_path: Path) -> None:
    seen = []
    for name in ("one.svg", "two.SVG"):
        plot.draw(report(FOUND), tmp_path / name)
        seen.append((tmp_path / name).read_text())
    assert seen[0] == seen[1]
    words = {node.text for node in ET.fromstring(seen[0]).iter("{http://www.w3.org/2000/svg}text")}  # noqa: S314 - we made it
    assert {"unlimited", "3.13 ms", "531 µs", "max-open: parallel INSERTs by max_open"} <= words


def test_a_picture_of_nothing_is_drawn_all_the_same(tmp_path: Path) -> None:
    plot.draw(report(Result(name="sleep", title="", not_run="no right")), tmp_path / "bench.png")
    assert (tmp_path / "bench.png").exists()


# ── the site ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("url", "keeps", "expected"),
    [
        (
            "postgresql://app:x@db:5432/app?sslmode=require",
            True,
            "postgresql://me:pw@db:5432/app?sslmode=require",
        ),
        ("postgresql://db/app", True, "postgresql://me:pw@db/app"),
        ("postgresql:///app?host=/run", True, "postgresql://me:pw@/app?host=/run"),
        ("mysql://app:x@db/app?charset=utf8mb4", False, "mysql://me:pw@db/?charset=utf8mb4"),
    ],
)
def test_another_account_is_put_into_the_url(url: str, keeps: bool, expected: str) -> None:
    assert with_account(url, "me", "pw", keeps_database=keeps) == expected


class Refusing:
    """A connector whose server is full."""

    socket_tells = True

    def connect(self, timeout: float) -> None:
        raise ConnectionError("too many clients")

    def close(self, connection: None) -> None:
        raise AssertionError(connection)


def test_a_witness_is_the_connector_it_watches_and_remembers_refusals() -> None:
    witness = Witness(Refusing())
    assert witness.socket_tells is True
    for _ in range(2):
        with pytest.raises(ConnectionError):
            witness.connect(1.0)
    assert [str(error) for error in witness.refusals] == ["too many clients"] * 2


def test_a_server_that_cannot_be_reached_is_one_line_without_the_password() -> None:
    with pytest.raises(Failed, match="no connection: ") as caught:
        Site("postgresql://app:s3cret@127.0.0.1:1/app?connect_timeout=2s").version()
    assert "s3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_options_of_a_pool_in_the_url_are_refused_but_for_the_harmless() -> None:
    assert Site("sqlite://?connect_timeout=2s&name=orders").options.connect_timeout == 2
    with pytest.raises(ConfigError, match="max_idle"):
        Site("sqlite://?max_idle=2")


# ── the work ────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def rung() -> Iterator[bell.Bell]:
    """A bell that has rung before the work begins."""
    with bell.Bell() as one:
        one.rung = True
        yield one


def test_an_error_of_one_worker_ends_the_others_and_is_raised() -> None:
    def use(_: object) -> None:
        raise ValueError("no such table")

    site = Site("sqlite://")
    with site.pool() as pool, bell.Bell() as quiet, pytest.raises(ValueError, match="no such table"):
        load.stream(pool, use, 4, 3600, quiet)


def test_an_error_in_a_wave_strands_nobody() -> None:
    def use(_: object) -> None:
        raise ValueError("no such table")

    site = Site("sqlite://")
    with site.pool() as pool, bell.Bell() as quiet, pytest.raises(ValueError, match="no such table"):
        load.waves(pool, use, 4, lambda: True, quiet)


def test_a_signal_ends_the_work(rung: bell.Bell) -> None:
    with Site("sqlite://").pool() as pool:
        with pytest.raises(load.Interrupted):
            load.stream(pool, lambda _: None, 2, 3600, rung)
        with pytest.raises(load.Interrupted):
            load.armfuls(pool, lambda _: None, 2, lambda: True, rung)


def test_an_armful_is_taken_at_once_and_given_back() -> None:
    with Site("sqlite://").pool(max_open=None, max_idle=0) as pool, bell.Bell() as quiet:
        seen = []
        done = load.armfuls(pool, lambda _: seen.append(pool.stats().in_use), 4, load.until(0), quiet)
        stats = pool.stats()
    assert (done.operations, seen) == (4, [4] * 4)
    assert (stats.connect_count, stats.in_use, stats.idle) == (4, 0, 0)


def test_memory_is_counted_for_each_wave() -> None:
    kept = []
    with Site("sqlite://").pool() as pool, bell.Bell() as quiet, load.Memory() as memory:
        load.waves(pool, lambda _: kept.append(bytearray(10_000)), 4, memory.again, quiet)
    assert len(kept) == 4 * load.MEMORY_WAVES
    assert 40_000 < memory.bytes() < 80_000
