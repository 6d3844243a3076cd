"""Ten thousand requests in each world, while the server closes connections between them: not one fails.

``python -m tests.tcp.soak`` makes a hundred thousand.
"""

from __future__ import annotations

from tests.tcp.soak import CONNECTIONS, Report, in_tasks, in_threads

REQUESTS = 10_000


def check(report: Report) -> None:
    assert report.errors == []
    assert report.right == REQUESTS
    assert report.hung_up_with_an_answer > 50
    assert report.hung_up_while_idle >= 5
    assert report.peak <= CONNECTIONS


def test_no_request_fails_while_a_server_closes_connections_between_them() -> None:
    check(in_threads(REQUESTS, 32, seed=1))


async def test_no_request_fails_in_asyncio_either() -> None:
    check(await in_tasks(REQUESTS, 1_000, seed=2))
