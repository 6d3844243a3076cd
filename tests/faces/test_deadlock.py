"""SelfDeadlock: raised for who waits on themselves, and for nobody else."""

from __future__ import annotations

import asyncio
import sys
import threading
from contextlib import ExitStack
from typing import Any

import pytest

from cenote import AsyncPool, Pool, PoolTimeout, SelfDeadlock
from cenote._core import Slot
from cenote.testing import AsyncScriptedConnector, FakeConnection, ScriptedConnector
from tests.faces.conftest import Make


@pytest.fixture
def pool() -> Any:
    with Pool(ScriptedConnector("transaction"), max_open=1) as pool:
        yield pool


@pytest.fixture
async def apool() -> Any:
    async with AsyncPool(AsyncScriptedConnector("transaction"), max_open=1) as pool:
        yield pool


def test_nested_with_blocks_are_told_at_once(pool: Pool[FakeConnection]) -> None:
    with pool.connection(), pytest.raises(SelfDeadlock, match="only the caller holds") as caught:
        pool.connection()
    assert __file__ in str(caught.value)
    assert pool.stats().waiting == 0


def test_a_function_called_in_a_with_block_is_told_at_once(pool: Pool[FakeConnection]) -> None:
    def deeper() -> None:
        with pool.connection():
            pass

    with pool.connection(), pytest.raises(SelfDeadlock):
        deeper()


def test_a_transaction_in_a_transaction_is_told_at_once(pool: Pool[FakeConnection]) -> None:
    with pool.transaction(), pytest.raises(SelfDeadlock):
        pool.transaction()


def test_every_place_counts(pool: Pool[FakeConnection]) -> None:
    pool.resize(max_open=2)
    with pool.connection(), pool.connection(), pytest.raises(SelfDeadlock):
        pool.connection()


def test_explicit_leases_are_told_at_the_deadline(pool: Pool[FakeConnection]) -> None:
    lease = pool.acquire()
    with pytest.raises(SelfDeadlock):
        pool.acquire(0)
    lease.release()


async def test_nested_async_with_blocks_are_told_at_once(apool: AsyncPool[FakeConnection]) -> None:
    async with apool.connection():
        with pytest.raises(SelfDeadlock) as caught:
            async with apool.connection():
                pass
    assert __file__ in str(caught.value)


async def test_a_coroutine_awaited_in_an_async_with_block_is_told_at_once(
    apool: AsyncPool[FakeConnection],
) -> None:
    async def deeper() -> None:
        async with apool.transaction():
            pass

    async with apool.transaction():
        with pytest.raises(SelfDeadlock):
            await deeper()


async def test_explicit_async_leases_are_told_at_the_deadline(apool: AsyncPool[FakeConnection]) -> None:
    lease = await apool.acquire()
    with pytest.raises(SelfDeadlock):
        await apool.acquire(0)
    await lease.release()


# ── nobody else ────────────────────────────────────────────────────────────────────────────────────


def test_a_lease_of_another_caller_is_no_deadlock(make: Make) -> None:
    world = make(max_open=1)
    world.acquire()
    call = world.begin_acquire(1)
    world.settle()
    world.advance(1)
    assert isinstance(call.error(), PoolTimeout)


def test_a_with_block_that_another_thread_entered_through_the_same_helper_is_no_deadlock(
    pool: Pool[FakeConnection],
) -> None:
    def helper() -> Any:  # its frame is gone when the block is entered, and its address used again
        return pool.connection(0)

    with pool.connection():  # so that an idle one is there: nothing waits for a dial with a timeout of 0
        pass
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with helper():
            inside.set()
            leave.wait()

    thread = threading.Thread(target=other, daemon=True)
    thread.start()
    inside.wait()
    try:
        for _ in range(20):
            with pytest.raises(PoolTimeout):
                helper()
    finally:
        leave.set()
        thread.join()


async def test_an_async_with_block_of_another_task_through_the_same_helper_is_no_deadlock(
    apool: AsyncPool[FakeConnection],
) -> None:
    def helper() -> Any:
        return apool.connection(0.06)  # longer than the first wait, after which it is looked into

    async with apool.connection():  # so that an idle one is there, and nothing waits for a dial
        pass
    entered, leave = asyncio.Event(), asyncio.Event()

    async def other() -> None:
        async with helper():
            entered.set()
            await leave.wait()

    task = asyncio.create_task(other())
    await entered.wait()
    with pytest.raises(PoolTimeout):
        async with helper():
            pass
    leave.set()
    await task


def test_a_block_left_by_an_exit_stack_elsewhere_is_no_deadlock(pool: Pool[FakeConnection]) -> None:
    def borrow(stack: ExitStack) -> None:
        stack.enter_context(pool.connection(0.06))

    with pool.connection():  # as above
        pass
    first, second = ExitStack(), ExitStack()
    borrow(first)
    with pytest.raises(PoolTimeout):
        borrow(second)
    first.close()


def test_a_lease_handed_to_another_thread_serves_the_one_that_acquired_it(pool: Pool[FakeConnection]) -> None:
    lease = pool.acquire()
    queued = threading.Event()

    class Core(type(pool._core)):  # type: ignore[misc] # slots forbid to set it on the one there is
        __slots__ = ()

        def request(self, waiter: Any, now: float) -> Any:
            todo = super().request(waiter, now)
            queued.set()
            return todo

    pool._core.__class__ = Core

    def other() -> None:
        queued.wait()
        lease.release()

    thread = threading.Thread(target=other, daemon=True)
    thread.start()
    with pool.connection() as connection:
        assert connection.number == 1
    thread.join()


async def test_a_task_started_in_a_block_waits_for_its_end(apool: AsyncPool[FakeConnection]) -> None:
    async def child() -> int:
        async with apool.connection() as connection:
            return connection.number

    async with apool.connection():
        task = asyncio.create_task(child())
        await asyncio.sleep(0)
    assert await task == 1


if sys.version_info >= (3, 12):

    async def test_a_task_started_eagerly_in_a_block_waits_for_its_end(
        apool: AsyncPool[FakeConnection],
    ) -> None:
        async def child() -> None:
            with pytest.raises(PoolTimeout):
                await apool.acquire(0)

        loop = asyncio.get_running_loop()
        async with apool.connection():
            await asyncio.Task(child(), loop=loop, eager_start=True)


def test_the_owner_of_a_lease_is_not_kept_alive(pool: Pool[FakeConnection]) -> None:
    leases: list[Any] = []
    thread = threading.Thread(target=lambda: leases.append(pool.acquire()))
    thread.start()
    thread.join()
    del thread
    (slot,) = pool._core.slots
    assert isinstance(slot, Slot)
    with pytest.raises(PoolTimeout):
        pool.acquire(0)
    leases[0].release()
