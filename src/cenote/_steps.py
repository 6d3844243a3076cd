"""How a pool does its work, written once for threads and for asyncio.

Every job that may have to wait (an acquire that was no hit, a release that has to talk, a dial, a
goodbye) is a generator. It decides nothing by itself: it calls the core under the lock, carries
out what the core left to do, and yields whatever may block as a `Step`: a call that returns its
result in a thread and an awaitable in asyncio. A face drives it, see `run` in either face.
Cancellation and errors are thrown in at the yield, so each undo stands beside its do.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Generator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from . import _explain, _looks, _report, _sockets
from ._core import NEVER, QUEUED, Act, Slot, Todo, Waiter
from ._deadline import current_deadline
from ._report import log
from ._sockets import Sight
from .errors import ConnectError, Error, Phase, PoolTimeout

if TYPE_CHECKING:
    from threading import RLock

    from ._pool import Hold, PoolBase
    from .durations import Duration

T = TypeVar("T")
Step = Callable[[], Any]
Steps = Generator[Step, Any, T]

LOOK_AROUND = 1.0
"""Seconds after which one who waits looks again for loops that have ended, where there are others."""

EARLY = 0.002
"""Timers may go off so many seconds early: uvloop counts milliseconds from the start of its turn."""


def ask(pool: PoolBase[Any], waiter: Waiter, timeout: Duration | None) -> bool:
    """Ask the core for a connection, when the hit path found none; true if a first wait is due.

    It was `queued_at` when the caller began, and its deadline is the nearer of this call's own and the one of
    the surrounding `cenote.timeout`.
    """
    core = pool._core
    owned = core.owned  # calling the attribute itself would look it up as a method first
    if owned():
        refuse_amid(pool, "acquire")
    now = waiter.queued_at
    # What `PoolBase._deadline` does with no timeout, once more: see decision 0018.
    deadline = now + pool._patience if timeout is None else pool._deadline(timeout, now)
    around = current_deadline()
    if around < deadline:  # noqa: PLR1730 - min() takes longer than all the rest
        deadline = around
    waiter.deadline = deadline
    waiter.patience = patience = deadline - now
    lock = core.lock
    try:  # a with statement, written out: see decision 0018
        lock.acquire()
        todo = core.request(waiter, now)
    except BaseException:
        _let_go(lock)
        raise
    lock.release()
    if todo is not QUEUED:
        carry_out(pool, todo)
        if waiter.slot is not None or waiter.refusal is not None:
            return False
    return patience > 0


def refuse_amid(pool: PoolBase[Any], what: str) -> None:
    """Refuse a finalizer that runs amid this thread's own transition what cannot be put off."""
    if pool._core.owned():
        message = f"pool {pool.name!r}: a finalizer that runs in the middle of its work cannot {what}"
        raise Error(message)


def leave(pool: PoolBase[Any], waiter: Waiter) -> None:
    """Leave the queue since the caller was cancelled; what it was given meanwhile goes to the next."""
    _under_lock(pool, pool._core.abandon, waiter, timed_out=False)


def acquire(pool: PoolBase[Any], waiter: Waiter, started: float) -> Steps[Slot]:
    """Get a live connection by the deadline, once `ask` and a first wait have not given one without a look.

    It may come from the pool, from the queue, or by a dial that the core starts.
    """
    deadline = waiter.deadline
    suspected = False
    try:
        while True:
            slot = waiter.slot
            if slot is not None:
                if waiter.fresh or (yield from _is_alive(pool, waiter, started, deadline)):
                    return slot
                _under_lock(pool, pool._core.bury, waiter)
            elif waiter.refusal is not None:
                _refuse(pool, waiter)
            else:
                left = deadline - pool._clock()
                if left <= 0:
                    _give_up(pool, waiter, started)
                elif suspected:
                    suspected = not _may_lose_a_loop(pool)
                    waiter.patience = left if suspected else min(left, LOOK_AROUND)
                    yield waiter.wait
                else:
                    suspected = True
                    _suspect(pool, waiter)
    except Error:
        raise
    except BaseException:  # cancelled, interrupted, or the loop went away
        leave(pool, waiter)
        raise


def _may_lose_a_loop(pool: PoolBase[Any]) -> bool:
    """Whether a place may be left by a loop that ends, of which nobody is told."""
    return pool._asynchronous and (len(pool._core.lanes) > 1 or pool._core.budget.limit < NEVER)


def _suspect(pool: PoolBase[Any], waiter: Waiter) -> None:
    """Find out whether this caller waits for connections that its own frames hold, or a dead loop left."""
    if waiter.slot is None:
        waiter.stack = pool._claims()
        _under_lock(pool, pool._core.suspect, waiter)


def _give_up(pool: PoolBase[Any], waiter: Waiter, started: float) -> None:
    """Leave the queue at the deadline, unless something came in the last moment."""
    during = _explain.phase(pool._core)
    waiter.stack = pool._claims()
    _under_lock(pool, pool._core.abandon, waiter, timed_out=True)
    if waiter.slot is None and waiter.refusal is None:
        raise _timed_out(pool, during, started)


def _is_alive(pool: PoolBase[Any], waiter: Waiter, started: float, deadline: float) -> Steps[bool]:
    slot = waiter.slot
    assert slot is not None
    generation = pool._core.generation
    sight = _looks.look(pool, slot)
    if sight is Sight.QUIET and not pool._core.needs_ping(slot):
        return True
    if sight is Sight.DEAD:
        return False
    if pool._hooks.ping is None:
        # Bytes that nobody asked for and no way to ask back: not to be trusted.
        alive = sight is Sight.QUIET
    else:
        left = deadline - pool._clock()
        if left <= 0:  # no time to ask it, which is no reason to close it
            _under_lock(pool, pool._core.give_up_check, waiter, asked=False)
            raise _timed_out(pool, "check", started)
        try:
            yield partial(pool._talk, pool._hooks.ping, slot, min(left, pool._options.connect_timeout))
            alive = True
        except Exception:  # noqa: BLE001 - whatever a driver raises here, the connection is no good
            alive = False
            if pool._clock() + EARLY >= deadline:
                _under_lock(pool, pool._core.give_up_check, waiter)
                raise _timed_out(pool, "check", started) from None
        except BaseException:  # cancelled in the middle of the conversation
            waiter.slot = None
            discard(pool, slot)
            raise
    if alive:
        slot.generation = generation
    return alive


def tidy(pool: PoolBase[Any], slot: Slot) -> Steps[bool]:
    """Bring a returned connection into good order; false if it had to be discarded instead."""
    hooks, connection = pool._hooks, slot.connection
    try:
        if hooks.is_broken is not None and hooks.is_broken(connection):
            discard(pool, slot)
            return False
        open_ = hooks.in_transaction(connection) if hooks.in_transaction is not None else None
        if hooks.rollback is not None and open_ is not False:  # None: the driver cannot tell
            if open_:
                _report.warn_rollback(pool, slot)
            yield partial(pool._talk, hooks.rollback, slot, pool._options.connect_timeout)
        if pool._options.reset and hooks.reset is not None:
            yield partial(pool._talk, hooks.reset, slot, pool._options.connect_timeout)
    except BaseException as error:
        discard(pool, slot)
        if isinstance(error, Exception) and not isinstance(error, Warning):  # warnings that were made errors
            log.debug("pool %r: discarded a connection that could not be tidied", pool.name, exc_info=True)
            return False
        raise
    return True


def discard(pool: PoolBase[Any], slot: Slot) -> None:
    """Close a connection instead of taking it back; if its peer is gone, the others are suspect."""
    lost = slot.watch is not None and _looks.look(pool, slot) is Sight.DEAD
    _under_lock(pool, pool._core.discard, slot, lost=lost)


def put(pool: PoolBase[Any], slot: Slot) -> Steps[None]:
    """Give a connection back that has to be looked at closely, and maybe talked to, before others get it."""
    if pool._is_clean is None or (yield from tidy(pool, slot)):
        now = pool._clock()
        done = pool._core.put(slot, now)
        if not done:
            put_failed(pool, slot, done, now)


def put_failed(pool: PoolBase[Any], slot: Slot, outcome: bool | None, now: float) -> None:  # noqa: FBT001 - passed on
    """Go on where `Core.put`, at `now`, could not finish without the lock."""
    core = pool._core
    owned = core.owned  # calling the attribute itself would look it up as a method first
    if owned():
        put_off(pool, partial(put_failed, pool, slot, outcome, now))
        return
    todo: Todo
    lock = core.lock
    try:  # as in `ask`
        lock.acquire()
        heir = None if outcome is None else core.pass_on(slot, now)
        if heir is None:
            todo = core.settle(now) if outcome is None else core.release(slot, now)
    except BaseException:
        _let_go(lock)
        raise
    lock.release()
    if heir is not None:
        heir.wake()
    elif todo:
        carry_out(pool, todo)


def put_back(pool: PoolBase[Any], slot: Slot) -> None:
    """Undo a `Core.take`."""
    slot.lane.idle[slot] = slot
    _under_lock(pool, pool._core.settle)


def dial(pool: PoolBase[Any], slot: Slot) -> Steps[None]:
    """Open one connection, for whoever comes first."""
    core = pool._core
    try:
        connection = yield partial(pool._connect, pool._options.connect_timeout)
        slot.connection = connection
        pool._meet(connection)
        slot.watch = _looks.watch(pool, slot)
        slot.hold = pool._hold(slot)
        if pool._hooks.on_lost is not None:
            # Weakly: what watches a connection, an event loop for one, must not keep its pool alive.
            pool._hooks.on_lost(connection, partial(_lost, weakref.ref(slot.hold)))
        if pool._options.keepalive == "auto" and core.learned_in != core.generation:
            yield from _learn(pool, slot)
    except GeneratorExit:  # nobody drives this job any more
        _dial_failed(pool, slot, None)
        raise
    except BaseException as error:
        # A cancelled dial counts as failed, too: the next one comes after a pause, not into an ending loop.
        _dial_failed(pool, slot, error)
        if not isinstance(error, Exception):
            raise
    else:
        _under_lock(pool, core.dialed, slot, connection)


def _dial_failed(pool: PoolBase[Any], slot: Slot, error: BaseException | None) -> None:
    """Free the place; a connection that was open but could not be asked what it has to be, is cut off."""
    if slot.connection is not None:
        terminate(pool, slot)
    _under_lock(pool, pool._core.dial_failed, slot, error)


def _lost(reference: weakref.ref[Hold]) -> None:
    """Take an idle connection whose peer has gone out of the pool, without waiting for an acquire."""
    hold = reference()
    if hold is not None:
        _under_lock(hold.pool, hold.pool._core.lost, hold.slot)


def _learn(pool: PoolBase[Any], slot: Slot) -> Steps[None]:
    """Ask the server after how long it hangs up on the idle."""
    ask = pool._hooks.idle_timeout
    if ask is not None:
        limit = yield partial(pool._talk, ask, slot, pool._options.connect_timeout)
        _under_lock(pool, pool._core.learn, limit)


def close(pool: PoolBase[Any], slot: Slot) -> Steps[None]:
    """Close one connection and wait until the server has let it go, at most as long as a dial may take."""
    seconds = pool._options.connect_timeout
    farewell = _sockets.Farewell(pool._fileno(slot))
    try:
        try:
            yield partial(pool._talk, pool._connector.close, slot, seconds)
        except Exception:  # noqa: BLE001 - it is logged
            log.debug("pool %r: closing a connection failed", pool.name, exc_info=True)
            terminate(pool, slot)
        except BaseException:  # cancelled: half a goodbye leaves the server with a connection
            terminate(pool, slot)
            raise
        farewell.part()
        yield partial(pool._farewell, farewell, 0.0 if pool._core.closed else seconds)
    finally:
        farewell.end()
        _under_lock(pool, pool._core.farewelled, slot)


def keepalive(pool: PoolBase[Any], slot: Slot) -> Steps[None]:
    """Ping an idle connection that upkeep has taken off the shelf."""
    core = pool._core
    generation = core.generation
    try:
        alive = _looks.look(pool, slot) is not Sight.DEAD
        if alive and pool._hooks.ping is not None:
            yield partial(pool._talk, pool._hooks.ping, slot, pool._options.connect_timeout)
    except BaseException as error:
        _under_lock(pool, core.unanswered, slot)
        if not isinstance(error, Exception):
            raise
    else:
        if alive:
            _under_lock(pool, core.answered, slot, generation)
        else:
            _under_lock(pool, core.unanswered, slot)


def shut_now(pool: PoolBase[Any]) -> None:
    """Begin to close the pool, and do not wait."""
    _under_lock(pool, pool._core.shut, None)


def shut(pool: PoolBase[Any], ender: Waiter, seconds: float) -> Steps[None]:
    """Close the pool: idle ones now, leases as they come back, and after `seconds` cut off."""
    if pool._core.owned():  # by a finalizer, and nothing can change before that transition is over
        shut_now(pool)
        return
    deadline = pool._clock() + seconds
    _under_lock(pool, pool._core.shut, ender)
    while pool._core.slots:
        left = deadline - pool._clock()
        if left <= 0:
            break
        ender.patience = left
        yield ender.wait
    _under_lock(pool, pool._core.cut_off)


def ping(pool: PoolBase[Any], slot: Slot, deadline: float) -> Steps[None]:
    """Ask the server of a leased connection for an answer."""
    started = pool._clock()
    try:
        if pool._hooks.ping is not None:
            yield partial(pool._talk, pool._hooks.ping, slot, deadline - started)
    except Exception as error:
        if pool._clock() + EARLY >= deadline:
            raise _timed_out(pool, "check", started) from error
        text = f"pool {pool.name!r}: no answer to a ping: {_explain.describe(pool._core, error)}"
        raise ConnectError(text) from error


def terminate(pool: PoolBase[Any], slot: Slot) -> None:
    """Cut a connection off without talking, from any thread, whoever uses it."""
    if pool._hooks.terminate is not None:
        with suppress(Exception):
            pool._hooks.terminate(slot.connection)
            return
    fileno = pool._fileno(slot)
    if fileno is not None:
        _sockets.cut(fileno)


# ── between the core and the faces ──────────────────────────────────────────────────────────────


def _under_lock(
    pool: PoolBase[Any], transition: Callable[..., Todo], *args: object, **options: object
) -> None:
    """Make one transition and carry out what it leaves to do. Later, if this thread is amid another one."""
    budget = pool._core.budget
    if budget.owned():
        put_off(pool, partial(_under_lock, pool, transition, *args, **options))
        return
    now = pool._clock()
    with budget.lock:
        todo = transition(*args, now, **options)
    carry_out(pool, todo)
    if budget.put_off:
        catch_up(pool)


def _let_go(lock: RLock) -> None:
    """Release a lock, unless what was raised came before this thread had it: a signal's handler may raise."""
    with suppress(RuntimeError):
        lock.release()


def put_off(pool: PoolBase[Any], call: Callable[[], None]) -> None:
    """Keep what a finalizer wants that the collector runs while this very thread has the lock."""
    pool._core.budget.put_off.append(call)
    pool._nudge_upkeep()


def catch_up(pool: PoolBase[Any]) -> None:
    """Do what was put off."""
    waiting, calls = pool._core.budget.put_off, list[Callable[[], None]]()
    with suppress(IndexError):  # another thread may take the last one
        while waiting:
            calls.append(waiting.popleft())
    for call in calls:  # each looks for more at its end, and would find what it left there
        call()


def carry_out(pool: PoolBase[Any], todo: Todo) -> None:
    """Do what a transition left to do; nothing here waits."""
    for act, subject in todo:
        if act is Act.WAKE:
            subject.wake()
        elif act is Act.UPKEEP:
            pool._wake_upkeep()
        elif act is Act.CUT:
            terminate(pool, subject)
        elif act is Act.RELAY:
            core, rest = subject
            carry_out(core.home(), rest)
        elif act in _JOBS:
            pool._spawn(_JOBS[act], subject)
        else:
            try:
                _report.REPORTS[act](pool, subject)
            except Exception:  # noqa: BLE001 - it is logged
                # By a listener, or since warnings are errors: no reason to leave the rest undone.
                log.exception("pool %r: could not report %s", pool.name, act.name)


_JOBS = {Act.DIAL: dial, Act.CLOSE: close, Act.PING: keepalive}


def _refuse(pool: PoolBase[Any], waiter: Waiter) -> NoReturn:
    raise _explain.refused(pool.name, pool._core, waiter, pool._clock())


def _timed_out(pool: PoolBase[Any], during: Phase, started: float) -> PoolTimeout:
    return _explain.timed_out(pool.name, pool._core, during, started, pool._clock())
