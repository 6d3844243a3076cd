"""Ten thousand requests in each world, while the server closes connections between them: not one fails.

``python -m tests.tcp.soak`` makes a hundred thousand of each.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tcp.soak import CONNECTIONS, ROUND, Report, Secured, in_tasks, in_threads

REQUESTS = 10_000


@pytest.fixture(params=["plain", "tls"])
def tls(request: pytest.FixtureRequest) -> Secured | None:
    if request.param == "plain":
        return None
    files: tuple[Path, Path] = request.getfixturevalue("tls_files")
    return Secured.with_files(*files)


def check(report: Report) -> None:
    assert report.errors == []
    assert report.right == REQUESTS
    assert report.hung_up_with_an_answer > 50
    assert report.hung_up_while_idle >= 5
    assert report.peak <= CONNECTIONS
    assert report.connections <= CONNECTIONS + report.given_up
    # Two dead ones in a row cast suspicion on all that are idle for longer still.
    suspects = REQUESTS // ROUND * CONNECTIONS
    assert report.given_up <= report.hung_up_with_an_answer + report.hung_up_while_idle + suspects


def test_no_request_fails_while_a_server_closes_connections_between_them(tls: Secured | None) -> None:
    check(in_threads(REQUESTS, 32, seed=1, tls=tls))


async def test_no_request_fails_in_asyncio_either(tls: Secured | None) -> None:
    check(await in_tasks(REQUESTS, 1_000, seed=2, tls=tls))
