"""One connection for several statements (`Conn`), and a transaction on one (`Tx`): what both faces share.

A transaction ends once: by commit, by rollback, or at its deadline, whichever comes first. After that it
raises `TxDone`, and its connection is back in the pool, or closed if the end went wrong.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from cenote.durations import Duration
from cenote.errors import ConfigError, Error, TxDone

from ._limits import GRACE, Later
from ._session import FOREVER, Held, Session, Site, bounded, give_back, is_mine, lend, make_room, timed_out
from .dialect import Isolation, Steps


class ConnBase(Held):
    """One connection, from its acquisition to `close`."""

    _session: Session | None = None
    _closed = False

    def _current(self) -> Session:
        if self._session is None:
            message = "Conn: it was closed, or not acquired yet; use it inside its with block"
            raise Error(message)
        return self._session

    @property
    def driver_connection(self) -> Any:
        """The driver's own connection, to be used while this one is not closed.

        Raises:
            Error: it is closed.
        """
        return self._current().connection


def open_conn(conn: ConnBase, site: Site, timeout: Duration | None) -> Steps[None]:
    """Acquire."""
    session = yield from lend(conn._handle, site, timeout)
    session.share()
    conn._session = session


def close_conn(conn: ConnBase, error: BaseException | None) -> Steps[None]:
    """Give the connection back, whatever is unread. Harmless when done before."""
    session, conn._session = conn._session, None
    if session is None:
        return
    yield from _clear(session)
    yield from give_back(session, error)


def _clear(session: Session) -> Steps[None]:
    """Leave nothing unread; a connection on which that fails is closed."""
    is_mine(session)  # it ends now, whoever else may still be at it
    try:
        yield from make_room(session, FOREVER, read=False)
    except Exception:  # noqa: BLE001 - whatever the driver said, the connection goes
        session.doomed = True
    except BaseException:
        session.lease.discard()
        raise


class TxBase(Held):
    """A transaction, from its beginning to its commit or rollback."""

    _session: Session | None = None
    _parent: ConnBase | None = None
    _begun = False
    _ended: str | None = "it has not begun; use it inside its with block"
    _alarm: Later | None = None
    _lost = False  # the database has rolled it back: what follows would be on its own
    _site: Site
    _isolation: Isolation | None
    _read_only: bool
    _timeout: Duration | None

    def _current(self) -> Session:
        if self._session is not None and self._parent is not None and self._parent._session is None:
            _end(self, "its connection was given back, so it was rolled back")
        if self._session is None:
            raise TxDone(f"Tx: {self._ended}")
        return self._session

    def _enter(self, site: Site, timeout: Duration | None, deadline: float) -> Steps[Session]:
        self._current()
        if self._deadline <= self._handle.pool._clock():
            yield from expire(self)
        session = yield from super()._enter(site, timeout, min(deadline, self._deadline))
        if self._lost or self._handle.dialect.is_over(session.connection):
            _end(self, "the database has ended it, after an error or by a statement in it")
            yield from _undo(session)
            yield from _let_go(self, session, None)
            self._current()
        return session

    def _leave(self, session: Session, error: BaseException | None) -> Steps[None]:
        if error is not None and self._handle.dialect.ends_tx(error):
            self._lost = True
        return super()._leave(session, error)

    @property
    def done(self) -> bool:
        """Whether it is over."""
        return self._session is None

    @property
    def driver_connection(self) -> Any:
        """The driver's own connection, to be used while the transaction lasts.

        Raises:
            TxDone: it is over.
        """
        return self._current().connection


def begin(tx: TxBase, later: Callable[[float, Callable[[], Steps[None]]], Later]) -> Steps[None]:
    """Acquire a connection, unless the parent has one, and begin."""
    handle = tx._handle
    tx._begun = True
    deadline = handle.deadline(tx._timeout)
    if tx._parent is None:
        session = yield from lend(handle, tx._site, tx._timeout)
    else:
        session = yield from tx._parent._enter(tx._site, tx._timeout, deadline)
    sent = False

    def send() -> Steps[None]:
        nonlocal sent
        sent = True
        yield from handle.dialect.begin(session.connection, tx._isolation, read_only=tx._read_only)

    try:
        yield from bounded(session, send(), deadline)
    except BaseException as error:
        if sent and not isinstance(error, GeneratorExit | ConfigError):
            yield from _undo(session)  # it may have begun all the same
        session.doomed |= isinstance(error, GeneratorExit)
        yield from _let_go(tx, session, error)
        raise
    session.share()
    tx._session, tx._ended, tx._deadline = session, None, deadline
    if deadline != FOREVER:
        _watch(tx, later, deadline - handle.pool._clock())


def _watch(tx: TxBase, later: Callable[[float, Callable[[], Steps[None]]], Later], seconds: float) -> None:
    """Have it rolled back in so many seconds, and if a statement is under way then, soon after that one."""
    reference = weakref.ref(tx)

    def expire_if_there() -> Steps[None]:
        found = reference()
        if found is not None and not (yield from expire(found)):
            _watch(found, later, GRACE)

    tx._alarm = later(seconds, expire_if_there)


def commit(tx: TxBase) -> Steps[None]:
    """Commit.

    Raises:
        TxDone: it is over already, or the server rolled back instead.
    """
    session = yield from tx._enter(tx._site, None, tx._deadline)
    handle = tx._handle
    deadline = min(tx._deadline, handle.deadline(None))
    _end(tx, "it was committed")
    try:
        done = yield from bounded(session, handle.dialect.commit(session.connection), deadline)
    except BaseException as error:
        tx._ended = "its commit failed"
        if not isinstance(error, GeneratorExit):
            yield from _undo(session)
        yield from _let_go(tx, session, error)
        raise
    yield from _let_go(tx, session, None)
    if not done:
        tx._ended = "the server rolled it back, since a statement in it had failed"
        raise TxDone(f"Tx: {tx._ended}")


def roll_back(tx: TxBase, error: BaseException | None = None) -> Steps[None]:
    """Roll back.

    Raises:
        TxDone: it is over already.
    """
    session = tx._current()
    if not is_mine(session):
        # Another thread or task is in the middle of a statement: nothing can be said on this connection.
        session.doomed = True
    _end(tx, "it was rolled back")
    yield from _undo(session)
    yield from _let_go(tx, session, error)


def expire(tx: TxBase) -> Steps[bool]:
    """Roll back at the deadline; false if a statement is under way, which has the same deadline."""
    session = tx._session
    if session is None:
        return True
    if not is_mine(session):
        return False
    _end(tx, "its deadline passed, so it was rolled back")
    yield from _undo(session)
    yield from _let_go(tx, session, None)
    return True


def leave(tx: TxBase, error: BaseException | None) -> Steps[None]:
    """End the with block: commit, or roll back after an error; nothing if the block has done so itself."""
    if tx._session is None:
        if error is None and tx._ended is not None and tx._ended.startswith("its deadline"):
            raise timed_out(tx._handle, f"the transaction: {tx._ended}")
    elif error is None:
        yield from commit(tx)
    elif isinstance(error, GeneratorExit):
        session = tx._session
        _end(tx, "it was dropped")
        session.lease.discard()
    else:
        yield from roll_back(tx, error)


def _end(tx: TxBase, how: str) -> None:
    tx._session = None
    tx._ended = how
    if tx._alarm is not None:
        tx._alarm.cancel()
        tx._alarm = None


def _undo(session: Session) -> Steps[None]:
    """Roll back what may be open; a connection on which that fails is closed."""
    if session.doomed:
        return
    handle = session.handle
    limit = handle.pool._clock() + handle.pool.options.connect_timeout
    try:
        yield from make_room(session, limit, read=False)
        # Closed, or busy with what a cancelled task has asked for: a rollback would wait for that.
        is_broken = handle.pool._hooks.is_broken
        session.doomed |= is_broken is not None and is_broken(session.connection)
        if not session.doomed:
            yield from bounded(session, handle.dialect.rollback(session.connection), limit)
    except Exception:  # noqa: BLE001 - the first error is what the user has to see
        session.doomed = True
    except BaseException:
        session.doomed = True
        session.lease.discard()  # whoever called will not come to that
        raise


def _let_go(tx: TxBase, session: Session, error: BaseException | None) -> Steps[None]:
    """Give the connection back to where it came from."""
    if tx._parent is not None:
        session.share()
        return
    yield from give_back(session, error)
