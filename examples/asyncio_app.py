"""A hundred tasks share five connections under one deadline; a failed task leaves nothing behind."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import cenote


async def read(pool: cenote.AsyncPool[Any], number: int) -> int:
    async with pool.connection() as conn:
        cursor = await conn.execute("select ? * ?", (number, number))
        (square,) = await cursor.fetchone()
        return int(square)


async def fail(pool: cenote.AsyncPool[Any]) -> None:
    async with pool.transaction() as conn:
        await conn.execute("insert into squares values (-1)")
        raise LookupError("changed my mind")


async def main(url: str) -> None:
    async with cenote.AsyncPool(url, max_open=5) as pool:
        async with pool.connection() as conn:
            await conn.execute("create table squares (value integer)")
        with cenote.timeout("5s"):
            squares = await asyncio.gather(*(read(pool, number) for number in range(100)))
        try:
            await fail(pool)
        except LookupError as error:
            print(f"rolled back: {error}")
        async with pool.connection() as conn:
            cursor = await conn.execute("select count(*) from squares")
            print(f"sum of squares {sum(squares)}, rows left {(await cursor.fetchone())[0]}")
        print(pool)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "sqlite://"))
