"""A program configured by flags or by the environment: --db-dsn, --db-max-open-conns, --db-max-idle-time, ...

python flags.py --db-dsn sqlite:///app.db --db-max-open-conns 4 --db-max-idle-time 5m
DB_DSN=sqlite:///app.db DB_MAX_OPEN_CONNS=4 python flags.py
"""

from __future__ import annotations

import argparse
import sys

import cenote


def main() -> None:
    parser = argparse.ArgumentParser(description="print the version of the database")
    cenote.add_arguments(parser)
    args = parser.parse_args()
    try:
        options = cenote.Options.from_args(args) if "db_dsn" in args else cenote.Options.from_env()
        pool = cenote.Pool(options)
        pool.ping(timeout="5s")
    except cenote.Error as error:
        sys.exit(f"flags.py: {error}")
    with pool, pool.connection() as conn:
        (version,) = conn.execute("select sqlite_version()").fetchone()
        print(f"SQLite {version} through {pool}")


if __name__ == "__main__":
    main()
