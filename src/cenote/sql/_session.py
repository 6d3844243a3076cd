"""One connection in the hands of the handle: who uses it, what is unread on it, whether it is trusted.

Everything here is written as steps, like the pool's own jobs (see `cenote._steps`), so threads and
asyncio share it. What is lent comes back on every path: each undo stands beside its do.
"""

from __future__ import annotations

import weakref
from _thread import LockType, allocate_lock
from collections.abc import Callable
from functools import partial
from sys import _getframe
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from cenote._deadline import current_deadline
from cenote.durations import Duration, seconds
from cenote.errors import ConfigError, Error, PoolTimeout

from ._limits import Outcome, TaskLimit, ThreadLimit
from .dialect import Call, Dialect, Steps

if TYPE_CHECKING:
    from cenote._core import Slot
    from cenote._pool import PoolBase

    from ._reader import Reader

T = TypeVar("T")

FOREVER = float("inf")


Site = tuple[int, CodeType, int]
"""Where the user's code called, kept cheaply as in a `Slot`: the frame's id, its code, the instruction."""


def site_of(frame: FrameType) -> Site:
    """Note a frame without keeping it."""
    return id(frame), frame.f_code, frame.f_lasti


def caller() -> Site:
    """Note who awaits the coroutine that asks; at its first step that is the frame below it."""
    frame = _getframe(1)
    return site_of(frame.f_back or frame)


class Handle:
    """What a `DB` and all that is made from it share: the pool, the driver's dialect, and how to call it."""

    def __init__(
        self,
        pool: PoolBase[Any],
        limit: type[ThreadLimit | TaskLimit],
        give_back: Callable[..., Any],
        *,
        interpolate: bool | None,
        prepare: bool | None,
    ) -> None:
        """Find the dialect.

        Raises:
            ConfigError: the connector has none, or cannot do what is asked of it.
        """
        found: Callable[[], Dialect] | None = getattr(pool._connector, "dialect", None)
        if found is None:
            message = (
                f"target: {pool._connector!r} has no dialect(), so cenote cannot query through it; "
                "use cenote.Pool and the driver's own methods, or give the connector a dialect()"
            )
            raise ConfigError(message)
        self.pool = pool
        self.dialect: Dialect = found()
        self.dialect.check(interpolate=interpolate, prepare=prepare)
        self.interpolate = interpolate
        self.prepare = prepare
        self.limit = limit
        self.give_back = give_back

    def deadline(self, timeout: Duration | None) -> float:
        """The nearer of a call's own deadline and that of the surrounding `cenote.timeout`."""
        if timeout is None:
            return current_deadline()
        return min(self.pool._clock() + seconds(timeout, option="timeout"), current_deadline())

    def call(
        self,
        sql: Any,
        params: tuple[Any, ...],
        *,
        interpolate: bool | None = None,
        prepare: bool | None = None,
        stream: bool | None = None,
    ) -> Call:
        """Word a statement for the dialect: a single mapping stands for named parameters."""
        given: Any = params or None
        if len(params) == 1 and isinstance(params[0], dict) and self.dialect.named:
            given = params[0]
        # What the handle was told about preparing outweighs a statement's wish: behind a proxy it must.
        keep = False if self.prepare is False else prepare
        if interpolate is None:
            interpolate = None if prepare else self.interpolate
        else:
            self.dialect.check(interpolate=interpolate, prepare=keep)
        if interpolate is False and keep is None and given is not None and self.dialect.binds_prepared:
            keep = True
        return Call(sql, given, interpolate, keep, stream)


class Session:
    """A leased connection and what the handle knows about it.

    Attributes:
        doomed: nobody can say what the server makes of it; it is closed instead of given back.
        busy: taken by whoever talks, one at a time; None as long as there is only one who could.
        source: unread rows lie on the connection, to be fetched from here.
    """

    __slots__ = ("_reader", "busy", "connection", "doomed", "handle", "lease", "slot", "source")

    def __init__(self, handle: Handle, lease: Any) -> None:
        """Begin with a lease that has its connection."""
        self.handle: Handle = handle
        self.lease: Any = lease
        self.slot: Slot = lease._hold.slot
        self.connection: Any = self.slot.connection
        self.doomed: bool = False
        self.busy: LockType | None = None
        self.source: Any = None
        self._reader: weakref.ref[Reader] | None = None

    def share(self) -> None:
        """Let others talk, now that whoever did has done."""
        if self.busy is None:
            self.busy = allocate_lock()
        else:
            self.busy.release()

    def lay(self, reader: Reader, source: Any) -> None:
        """Note that unread rows lie on the connection, for as long as their reader cares."""
        self.source = source
        # Collected before its connection is closed, a driver's cursor would talk to the server.
        self.slot.baggage = source
        self._reader = weakref.ref(reader)

    def vacate(self) -> None:
        """Note that nothing is unread any more."""
        self.source = self.slot.baggage = self._reader = None

    def forget(self) -> None:
        """Note that nobody cares any more for what is unread."""
        self._reader = None

    @property
    def reader(self) -> Reader | None:
        """Who reads the unread rows; None if nobody cares any more."""
        return None if self._reader is None else self._reader()


def lend(handle: Handle, site: Site, timeout: Duration | None) -> Steps[Session]:
    """Acquire a connection in the user's name."""
    lease: Any = handle.pool.connection(timeout)  # type: ignore[attr-defined] # both faces have it
    if lease._hold is None:
        yield lease.__aenter__
    lease._mark(*site)
    return Session(handle, lease)


def give_back(session: Session, error: BaseException | None) -> Steps[None]:
    """Give the connection back, or close it if it is not to be trusted."""
    if session.doomed or isinstance(error, GeneratorExit):
        session.lease.discard()
    elif session.lease._hold is not None:
        session.slot.baggage = None
        kind = None if error is None else type(error)
        yield partial(session.handle.give_back, session.lease, kind, error, None)


def bounded(session: Session, steps: Steps[T], deadline: float) -> Steps[T]:
    """Talk to the server until the deadline, and then have it stop."""
    if deadline == FOREVER:
        return (yield from steps)
    handle = session.handle
    left = deadline - handle.pool._clock()
    if left <= 0:
        steps.close()
        raise timed_out(handle, "its deadline had passed before it was sent")
    return (yield from handle.dialect.within(session.connection, _watched(session, steps, left), left))


def _watched(session: Session, steps: Steps[T], seconds: float) -> Steps[T]:
    """Do so by asking the server from elsewhere, or cutting the connection off."""
    handle = session.handle
    limit = handle.limit(handle.pool, session.slot, seconds, handle.dialect.cancel)
    try:
        result = yield from steps
    except GeneratorExit:
        session.doomed = True
        raise
    except BaseException as error:
        session.doomed = True
        outcome = yield limit.end
        stopped = handle.dialect.is_cancelled(error)
        session.doomed = outcome is Outcome.CUT or (outcome is Outcome.CANCELLED and not stopped)
        if outcome is Outcome.IN_TIME or not isinstance(error, Exception):
            raise
        what = "the server has stopped it" if stopped else "its connection is closed"
        raise timed_out(handle, what) from error
    session.doomed = True
    session.doomed = (yield limit.end) is not Outcome.IN_TIME
    return result


def timed_out(handle: Handle, what: str) -> PoolTimeout:
    """Word the timeout of a statement."""
    return PoolTimeout(f"pool {handle.pool.name!r}: a statement ran into its deadline; {what}", "statement")


class Owner:
    """Whatever statements can be sent through: a handle, one connection, or a transaction."""

    _handle: Handle
    _borrows = False
    """Whether each statement gets a connection of its own."""
    _deadline = FOREVER
    """When everything sent through it is over, whatever a statement's own deadline says."""

    def _enter(self, site: Site, timeout: Duration | None, deadline: float) -> Steps[Session]:
        """Get the session to talk in, and make it busy."""
        raise NotImplementedError

    def _leave(self, session: Session, error: BaseException | None) -> Steps[None]:
        """Let go of it, after a statement of which nothing is unread."""
        raise NotImplementedError


def talk(
    owner: Owner, site: Site, timeout: Duration | None, ask: Callable[[Any, Call], Steps[T]], call: Call
) -> Steps[T]:
    """Ask a connection of the owner's one thing, by a deadline."""
    deadline = owner._handle.deadline(timeout)
    if deadline == FOREVER and owner._borrows:
        return (yield from _ask_once(owner._handle, site, ask, call))
    deadline = min(deadline, owner._deadline)
    session = yield from owner._enter(site, timeout, deadline)
    try:
        result = yield from bounded(session, ask(session.connection, call), deadline)
    except BaseException as error:
        yield from owner._leave(session, error)
        raise
    yield from owner._leave(session, None)
    return result


def _ask_once(handle: Handle, site: Site, ask: Callable[[Any, Call], Steps[T]], call: Call) -> Steps[T]:
    """Do so in the plain case: a connection for this one statement, and no deadline."""
    lease: Any = handle.pool.connection()  # type: ignore[attr-defined] # both faces have it
    if lease._hold is None:
        yield lease.__aenter__
    lease._mark(*site)
    try:
        result = yield from ask(lease._hold.slot.connection, call)
    except GeneratorExit:
        lease.discard()
        raise
    except BaseException as error:
        yield partial(handle.give_back, lease, type(error), error, None)
        raise
    hold = lease._hold
    if hold is None or not hold.is_clean():
        yield partial(handle.give_back, lease, None, None, None)
    else:
        lease._hold = None
        hold.put()
    return result


class Held(Owner):
    """An owner that keeps one session: statements through it follow each other on the same connection."""

    def _current(self) -> Session:
        """Get the session, unless it is over."""
        raise NotImplementedError

    def _enter(self, site: Site, timeout: Duration | None, deadline: float) -> Steps[Session]:  # noqa: ARG002 - it has its connection already
        session = self._current()
        occupy(session, type(self).__name__)
        try:
            if session.doomed:
                _refuse_doomed(type(self).__name__)
            yield from make_room(session, deadline)
        except BaseException:
            session.share()
            raise
        return session

    def _leave(self, session: Session, error: BaseException | None) -> Steps[None]:
        if isinstance(error, GeneratorExit):
            session.doomed = True
        session.share()
        yield from ()


def _refuse_doomed(who: str) -> NoReturn:
    raise Error(
        f"{who}: its connection will be closed, since a statement was cut short at its deadline; "
        "end this one and begin another"
    )


def is_mine(session: Session) -> bool:
    """Take the right to talk, unless somebody has it."""
    return session.busy is not None and session.busy.acquire(blocking=False)


def occupy(session: Session, who: str) -> None:
    """Make a session busy.

    Raises:
        Error: it is, with another statement.
    """
    if not is_mine(session):
        raise Error(
            f"{who}: used by two threads or tasks at once; a connection carries one statement at a time, "
            "so give each its own"
        )


def make_room(session: Session, deadline: float, *, read: bool = True) -> Steps[None]:
    """Take unread rows off the connection: into memory if somebody still reads them, else away."""
    source, reader = session.source, session.reader
    if source is None:
        return
    if read and reader is not None:
        yield from bounded(session, reader.read_all(), deadline)
    else:
        session.forget()
        if reader is not None:
            reader.lose()
        yield from bounded(session, _clear_away(session, source), deadline)


def _clear_away(session: Session, source: Any) -> Steps[None]:
    """Give up unread rows. If there is no time left to begin with it, they lie there still."""
    session.vacate()
    yield from session.handle.dialect.finish(source, keep=True)
