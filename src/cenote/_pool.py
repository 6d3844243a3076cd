"""What `Pool` and `AsyncPool` have in common: options, names, numbers, and what their jobs ask of a face."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Hashable
from types import CodeType, ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, Unpack

from . import _explain, _fork, _looks, _steps
from ._core import Budget, Core, Slot, State
from ._deadline import current_deadline
from ._explain import Holder
from .connector import Hooks
from .durations import Duration, seconds
from .errors import ConfigError, Error
from .options import Options, OptionsDict, default_name
from .stats import Stats

if TYPE_CHECKING:
    from .events import Listener

C = TypeVar("C")
Forever = float("inf")


class Hold:
    """The proof that somebody has a connection: kept by its slot while nobody has, else by one lease alone.

    When that lease is collected without release, the hold goes with it and reports so. A finalizer
    on the lease itself would run at the end of every use, and cost more than all the rest of it.
    """

    __slots__ = ("__weakref__", "pool", "slot")

    def __init__(self, pool: PoolBase[Any], slot: Slot) -> None:
        """Stand for one slot."""
        self.pool = pool
        self.slot = slot

    def is_clean(self) -> bool:
        """Whether the connection may go back as it is; if not, that takes talking to the server."""
        is_clean = self.pool._is_clean
        try:
            return is_clean is None or is_clean(self.slot.connection)
        except Exception:  # noqa: BLE001 - drivers raise what they like for a closed connection; tidy asks again
            return False

    def put(self) -> None:
        """Give a clean connection back. Whoever held it must not use it, nor keep this, from now on."""
        slot, pool = self.slot, self.pool
        slot.hold = self
        clock = pool._clock  # calling the attribute itself would look it up as a method first
        now = clock()
        core = pool._core
        put = core.calm and core.put(slot, now)
        if not put:
            _steps.put_failed(pool, slot, put, now)

    def __del__(self) -> None:
        """Report the leak; see `Core.drop` for what may be done here."""
        slot = self.slot
        if slot.held:
            self.pool._core.drop(slot)
            self.pool._nudge_upkeep()


class LeaseBase(Generic[C]):
    """A connection in somebody's hands; the faces add the with block and `release`."""

    __slots__ = ("__weakref__", "_hold")

    _hold: Hold | None
    _done: Any = None  # what the way back gives when there is nothing to wait for; awaitable in asyncio

    @property
    def connection(self) -> C:
        """The driver's own connection.

        Raises:
            cenote.Error: the lease was given back, or has not been awaited.
        """
        if self._hold is None:
            message = "this lease holds no connection: it was given back, or never awaited"
            raise Error(message)
        connection: C = self._hold.slot.connection
        return connection

    def _leave(
        self,
        kind: type[BaseException] | None,  # noqa: ARG002 - this is what a with block calls
        error: BaseException | None,
        trace: TracebackType | None,  # noqa: ARG002 - as above
    ) -> Any:
        """Give the connection back, or close it if the error leaves its state in doubt.

        It is the faces' `__exit__` and `__aexit__` itself, since a call or a coroutine in between is felt.
        What it has to say to the server is said before it returns, in asyncio when its result is awaited.
        """
        hold = self._hold
        if hold is None:
            return self._done
        slot = hold.slot
        pool = hold.pool
        if error is None:
            # `Hold.is_clean` and `Hold.put` once more: as calls they add 6 to 9 % to acquire and release.
            is_clean = pool._is_clean
            try:
                clean = is_clean is None or is_clean(slot.connection)
            except Exception:  # noqa: BLE001 - drivers raise what they like for a closed connection; tidy asks again
                clean = False
            if clean:
                self._hold = None
                slot.hold = hold
                clock = pool._clock  # calling the attribute itself would look it up as a method first
                now = clock()
                core = pool._core
                put = core.calm and core.put(slot, now)
                if not put:
                    _steps.put_failed(pool, slot, put, now)
                return pool._done
        self._hold = None
        slot.hold = hold
        if error is not None and _looks.distrusts(pool, error):
            _steps.discard(pool, slot)
            return self._done
        return self._tidied(pool, slot)

    def _tidied(self, pool: PoolBase[Any], slot: Slot) -> Any:
        """Give back what has to be looked at closely, and maybe talked to."""
        raise NotImplementedError

    def discard(self) -> None:
        """Close the connection, in the background, instead of giving it back. Harmless after `release`."""
        hold = self._hold
        if hold is not None:
            self._hold = None
            hold.slot.hold = hold
            _steps.discard(hold.pool, hold.slot)

    def _mark(self, owner: Hashable, code: CodeType, instruction: int) -> None:
        """Note another owner and place than those of the call of `connection`."""
        if self._hold is not None:
            slot = self._hold.slot
            slot.owner, slot.code, slot.instruction = owner, code, instruction

    def __repr__(self) -> str:
        """Name the connection."""
        state = "no connection" if self._hold is None else f"connection {self._hold.slot.id}"
        return f"<{type(self).__name__}: {state}>"


class TransactionBase(Generic[C]):
    """The driver's own block of a transaction, around a lease; the faces enter and leave it."""

    __slots__ = ("_begin", "_block", "_lease")

    def __init__(self, lease: Any, begin: Callable[[C], Any]) -> None:
        """Wrap a lease; nothing has begun."""
        self._lease: Any = lease
        self._begin = begin
        self._block: Any = None


def reference(actor: object) -> Hashable:
    """Refer to a thread or task without keeping it, and without taking a later one for it."""
    weak = weakref.ref(actor)
    hash(weak)  # it remembers this, and can be compared when the actor is gone
    return weak


class PoolBase(Generic[C]):
    """State and plain methods of a pool; the faces add whatever waits."""

    _asynchronous: bool
    _done: Any = None  # as in `LeaseBase`

    def __init__(
        self, target: object, listener: Listener | None, clock: Callable[[], float], **options: Any
    ) -> None:
        """Understand the target and the options. Opens nothing."""
        self._done = self._done  # out of the class, where each release would look for it longer
        self._options, self._connector = _understand(target, options, asynchronous=self._asynchronous)
        self._hooks: Hooks[C] = Hooks.of(self._connector)
        self._met = False
        self._check(self._options)
        self._listener = listener
        self._clock = clock
        self._start_anew(None)
        self._adopt(stacklevel=4)
        _fork.register(self)

    def _start_anew(self, budget: Budget | None) -> None:
        """Begin with nothing open, within a budget that other pools share if there is one."""
        self._core = Core(self._options, eventful=self._listener is not None, budget=budget)
        self._core.home = weakref.ref(self)

    def _check(self, options: Options) -> None:
        """Refuse what this connector cannot do."""
        if options.reset is not None and self._hooks.reset is None:
            text = f"reset: {self._connector!r} cannot reset a session, got {options.reset!r}; leave it out"
            raise ConfigError(text)
        if options.keepalive == "auto" and self._hooks.idle_timeout is None:
            text = (
                f"keepalive: {self._connector!r} cannot ask its server for a time-out, got 'auto'; "
                "write a duration such as '30s'"
            )
            raise ConfigError(text)

    def _adopt(self, *, stacklevel: int) -> None:
        """Draw the consequences of new options."""
        self._is_clean = _looks.cleanliness(self._hooks, reset=self._options.reset is not None)
        self._patience = Forever if self._options.timeout is None else self._options.timeout
        if self._options.max_open is None:
            text = f"pool {self.name!r}: max_open=None sets no limit; set it below what the server accepts"
            warnings.warn(text, RuntimeWarning, stacklevel=stacklevel)

    # ── what users read and set ─────────────────────────────────────────────────────────────────

    @property
    def name(self) -> str:
        """The name in logs, metrics and errors: the option, or made from the URL without its password."""
        return self._options.name or "pool"

    @property
    def options(self) -> Options:
        """The options in force."""
        return self._options

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._core.closed

    def stats(self) -> Stats:
        """Take a consistent snapshot of gauges, counters and histograms. Never waits for a connection."""
        return self._core.stats()

    def holders(self) -> list[Holder]:
        """List who holds a connection and where it was acquired, the longest hold first."""
        return _explain.holders(tuple(self._core.slots), self._clock())

    def resize(self, **options: Unpack[OptionsDict]) -> None:
        """Change any option of the running pool.

        Less room: surplus idle connections are closed at once, leases when they come back. More
        room: waiters are served at once. Never waits.

        Raises:
            ConfigError: a value makes no sense; nothing is changed.
            TypeError: there is no such option.
        """
        core = self._core
        _steps.refuse_amid(self, "resize")
        with core.lock:
            changed = self._options.replace(**options)
            self._check(changed)
            todo = core.resize(changed, self._clock())
            self._options = changed
        _steps.carry_out(self, todo)
        self._adopt(stacklevel=3)

    def set_max_open_conns(self, n: int) -> None:
        """Set the most open connections; database/sql's setter, so 0 or less means no limit."""
        self.resize(max_open=n if n > 0 else None)

    def set_max_idle_conns(self, n: int) -> None:
        """Set the most idle connections; database/sql's setter, so 0 or less keeps none."""
        self.resize(max_idle=max(n, 0))

    def set_conn_max_lifetime(self, d: Duration) -> None:
        """Set the age at which connections are replaced; database/sql's setter, so 0 means never."""
        self.resize(max_lifetime=seconds(d, option="max_lifetime") or None)

    def set_conn_max_idle_time(self, d: Duration) -> None:
        """Set how long a connection may be idle; database/sql's setter, so 0 means for ever."""
        self.resize(max_idle_time=seconds(d, option="max_idle_time") or None)

    def __repr__(self) -> str:
        """Name and counts."""
        state = "closed" if self.closed else _explain.counts(self._core)
        return f"<{type(self).__name__} {self.name!r} {state}>"

    # ── what jobs ask for ───────────────────────────────────────────────────────────────────────

    def _deadline(self, timeout: Duration | None, now: float) -> float:
        """The nearer of this call's own deadline and the one of the surrounding `cenote.timeout`."""
        own = now + (self._patience if timeout is None else seconds(timeout, option="timeout"))
        around = current_deadline()
        return own if own < around else around  # noqa: FURB136 - min() takes longer than all the rest

    def _actor(self) -> Hashable:
        """Stand for the thread or task that is running."""
        raise NotImplementedError

    def _claims(self) -> frozenset[Hashable]:
        """What the running thread or task holds, if it holds all there is."""
        return _explain.claims(self._core, self._actor(), None)

    def _meet(self, connection: C) -> None:
        """Learn from the first connection which hooks its kind has, if the connector cannot know before."""
        hooks_for = getattr(self._connector, "hooks_for", None)
        if hooks_for is not None and not self._met:
            self._met = True
            self._hooks = hooks_for(connection)
            self._is_clean = _looks.cleanliness(self._hooks, reset=self._options.reset is not None)

    def _hold(self, slot: Slot) -> Hold:
        """Make the hold of a new connection."""
        return Hold(self, slot)

    def _fileno(self, slot: Slot) -> int | None:
        """The connection's socket as its driver knows it now; None when it has none, or none any more."""
        if self._hooks.fileno is None:
            return None
        try:
            return self._hooks.fileno(slot.connection)
        except Exception:  # noqa: BLE001 - drivers raise what they like for a closed connection
            return None

    def _forked(self) -> None:
        """Start anew in a forked child: let go of the parent's sockets without touching them."""
        parent = self._core
        _fork.graveyard.append(parent)  # finalizers of its connections must not run here
        for slot in list(parent.slots):
            slot.state = State.GONE
            slot.expires_at = -Forever
            if slot.connection is not None:
                _fork.sever(self._fileno(slot))
        self._start_anew(parent.budget.renewed())
        self._core.closed = parent.closed
        self._core.calm = not parent.closed

    def _connect(self, seconds: float) -> Any:
        """Open a connection within `seconds`."""
        raise NotImplementedError

    def _talk(self, hook: Callable[[C], Any], slot: Slot, seconds: float) -> Any:
        """Call a hook that may block, for `seconds` at most."""
        raise NotImplementedError

    def _farewell(self, farewell: Any, seconds: float) -> Any:
        """Wait for the server's goodbye."""
        raise NotImplementedError

    def _spawn(self, job: Callable[[Any, Slot], _steps.Steps[None]], slot: Slot) -> None:
        """Run a job in the background, where this slot lives."""
        raise NotImplementedError

    def _wake_upkeep(self) -> None:
        """Have upkeep look again."""
        raise NotImplementedError

    def _nudge_upkeep(self) -> None:
        """Do the same from a finalizer: wait for no lock, and do not hand on a pool that may be garbage."""
        raise NotImplementedError


def _understand(target: object, given: dict[str, Any], *, asynchronous: bool) -> tuple[Options, Any]:
    """Turn what the user passed into options and a connector."""
    if isinstance(target, Options):
        options = target.replace(**given)
        if options.dsn is None:
            message = "Options: have no dsn; give one, as in Options.from_url('postgresql://app@db/app')"
            raise ConfigError(message)
    elif isinstance(target, str):
        options = Options.from_url(target, **given)
    else:
        options = Options.of(**given)
    if options.dsn is not None:
        from . import drivers  # noqa: PLC0415 - only URLs need the table of drivers

        connect = drivers.async_connector_for if asynchronous else drivers.connector_for
        connector: Any = connect(options.dsn)
        return (options if options.name else options.replace(name=default_name(options.dsn))), connector
    return options, _connector_of(target, asynchronous=asynchronous)


def _connector_of(target: object, *, asynchronous: bool) -> Any:
    if isinstance(target, ModuleType):
        name = target.__name__
        message = (
            f"target: a module is not enough to connect; write cenote.dbapi({name}, ...connect arguments...)"
        )
        raise ConfigError(message)
    if callable(getattr(target, "connect", None)) and callable(getattr(target, "close", None)):
        return target
    if callable(target):
        from .drivers import callables  # noqa: PLC0415 - only callables need it

        return (
            callables.AsyncCallableConnector(target) if asynchronous else callables.CallableConnector(target)
        )
    message = (
        "target: must be a URL, a Connector or a callable that returns a connection, "
        f"got {type(target).__name__}; "
        "write Pool('postgresql://app@db/app')"
    )
    raise ConfigError(message)
