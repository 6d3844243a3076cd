"""Eight threads share three SQLite connections: each waits its turn, and the pool counts what happened."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import cenote


def main(url: str) -> None:
    with cenote.Pool(url, max_open=3, timeout="5s") as pool:
        with pool.connection() as conn:
            conn.execute("create table if not exists visits (page text not null)")

        def visit(page: str) -> None:
            with pool.transaction() as conn:
                conn.execute("insert into visits (page) values (?)", (page,))

        with ThreadPoolExecutor(max_workers=8) as workers:
            for _ in workers.map(visit, [f"/articles/{number}" for number in range(200)]):
                pass

        with pool.connection() as conn:
            (count,) = conn.execute("select count(*) from visits").fetchone()
        stats = pool.stats()
        print(f"{count} visits, {stats.connect_count} connections opened, {stats.wait_count} acquires queued")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "sqlite://")
