"""What `open` passes on to its pool, and a transaction whose connection goes before it."""

from __future__ import annotations

import warnings

import pytest

import cenote
from cenote.testing import EventLog


def test_a_listener_hears_of_the_handles_pool() -> None:
    log = EventLog()
    with cenote.open("sqlite://", listener=log) as db:
        db.query_row("select 1")
    assert "connected" in log.kinds


async def test_a_listener_hears_of_the_handles_pool_in_asyncio() -> None:
    log = EventLog()
    async with cenote.open_async("sqlite://", listener=log) as db:
        await db.query_row("select 1")
    assert "connected" in log.kinds


def test_the_clock_given_is_the_pools() -> None:
    now = 100.0
    with cenote.open("sqlite://", clock=lambda: now, max_lifetime=None) as db:
        db.query_row("select 1")
        assert db.pool._clock() == now


def test_a_transaction_is_over_when_its_connection_was_given_back_first() -> None:
    with cenote.open("sqlite://") as db:
        db.exec("create table orders (id integer)")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # the pool's, that it rolled back
            with db.conn() as conn:
                tx = conn.begin()
                tx.exec("insert into orders values (1)")
        with pytest.raises(cenote.TxDone, match="its connection was given back"):
            tx.exec("insert into orders values (2)")
        with pytest.raises(cenote.TxDone, match="its connection was given back"):
            tx.commit()
        assert tx.done
        assert db.query_row("select count(*) from orders")[0] == 0
        assert db.stats().in_use == 0


async def test_a_transaction_is_over_when_its_connection_was_given_back_first_in_asyncio() -> None:
    async with cenote.open_async("sqlite://") as db:
        await db.exec("create table orders (id integer)")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            async with db.conn() as conn:
                tx = await conn.begin()
                await tx.exec("insert into orders values (1)")
        with pytest.raises(cenote.TxDone, match="its connection was given back"):
            await tx.commit()
        assert (await db.query_row("select count(*) from orders"))[0] == 0
        assert db.stats().in_use == 0
