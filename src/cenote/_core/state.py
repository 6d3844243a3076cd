"""The records the core keeps: `Slot`, `Lane`, `Waiter`, and the `Todo` it hands to a face.

Data only. Who may change what, and when, is written at the head of the package.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, Literal

from .queue import Queue

if TYPE_CHECKING:
    from types import CodeType


NEVER = float("inf")

NOTHING: Any = None
"""What is set to be nothing for now. After a plain None a type checker thinks that it stays so."""


class State(enum.Enum):
    """What a slot is doing. An OPEN slot on its lane's idle shelf is idle, off it is in use."""

    CONNECTING = enum.auto()
    OPEN = enum.auto()
    CLOSING = enum.auto()
    GONE = enum.auto()


class Slot:
    """The pool's record of one connection, from the start of its dial to the end of its goodbye."""

    __slots__ = (
        "answered_at",
        "baggage",
        "brief",
        "code",
        "connection",
        "expires_at",
        "generation",
        "hold",
        "id",
        "instruction",
        "lane",
        "opened_at",
        "overdue",
        "owner",
        "watch",
        "rested",
        "since",
        "state",
        "uses",
        "warned_for",
    )

    def __init__(self, id_: int, lane: Lane, generation: int, now: float) -> None:
        """Begin as a dial that started at `now`."""
        self.id: int = id_
        self.lane: Lane = lane
        self.state: State = State.CONNECTING
        self.generation: int = generation
        self.connection: Any = None
        # Called with 0, without a round trip: true when there is something to look into.
        self.watch: Callable[[int], object] | None = None
        # Absolute, so that a look at the age is one comparison; -inf once it leaves the pool.
        self.expires_at: float = NEVER
        self.opened_at: float = now
        # Idle: since when. In use: since when. Connecting: since when.
        self.since: float = now
        self.answered_at: float = now  # last time a keepalive ping was answered
        # Dialed just now, or its last hold was too short to look again after it. Says nothing while in use.
        self.brief: bool = True
        self.rested: float = 0.0  # how long it had been idle when it was last granted
        # Written by the holder alone, and of meaning only while `held`; the owner is the id of the
        # frame that acquired it, or a reference to the thread or task if it is no with block.
        self.owner: Hashable = 0
        self.hold: Any = None  # the face's own, see Hold in _pool
        self.baggage: Any = None  # the holder's: what must not be collected before the connection is closed
        self.code: CodeType | None = None
        self.instruction: int = 0
        self.uses: int = 0
        self.warned_for: float = -NEVER  # the `since` of the hold that warn_held was logged for
        self.overdue: bool = False

    @property
    def scoped(self) -> bool:
        """Whether a with block holds it, which only the frame that is its owner can leave."""
        return isinstance(self.owner, int)

    @property
    def held(self) -> bool:
        """Whether a lease has it; upkeep and callers that still check it do not count."""
        return self.state is State.OPEN and self.hold is None


class Waiter:
    """A caller in the queue. The waits and `wake` are a face's own; the rest is the core's."""

    # Every wait makes one. Without slots its cost would depend on which fields the first thirty of its kind
    # were given, and when; in Python 3.12 and 3.13 it was twice as much as with them, as a rule. They are in
    # the classes that are made: one of these is a lease as well, and Python joins no two bases with slots.
    __slots__ = tuple[str, ...]()  # written out, mypy would think that a waiter has no fields
    FIELDS = (
        "cause",
        "deadline",
        "deaths",
        "fresh",
        "future",
        "lane",
        "patience",
        "queued",
        "queued_at",
        "refusal",
        "slot",
        "stack",
        "surplus",
        "ticket",
    )

    lane: Lane
    slot: Slot | None
    refusal: Refusal | None
    cause: BaseException | None  # of a refusal for a connect error
    ticket: int
    queued: bool  # is in its lane's queue
    surplus: bool  # queued since every place was in other hands: counts as a wait
    deaths: int  # dead connections it was given from the pool
    fresh: bool  # what it was given needs no look: dialed, or in another's hands, a moment ago
    stack: frozenset[Hashable]  # what `Slot.owner` is of the connections its caller holds
    queued_at: float  # when its caller began to ask
    deadline: float  # of all its waits together
    patience: float  # seconds that the next wait may take
    future: Any  # what its caller awaits, if that can be cancelled before the caller runs to say so

    def __init__(self, lane: Lane) -> None:
        """Prepare to ask."""
        self.lane = lane
        self.slot = self.refusal = self.cause = self.future = None
        self.queued = self.fresh = False
        self.begin()
        self.stack = frozenset()
        self.queued_at = 0.0
        self.deadline = self.patience = NEVER

    def begin(self) -> None:
        """Have waited for nothing, and met none that is dead."""
        self.surplus = False
        self.ticket = self.deaths = 0

    def find(self, slot: Slot) -> None:
        """Be given a slot that was taken, but there is something to look into."""
        slot.rested = 0.0  # of an earlier grant; `take` gives none that has rested for long
        self.begin()
        self.fresh = False
        self.slot = slot

    def accepts(self) -> bool:
        """Whether it would still take a connection; asked under the lock, at the hand-off."""
        future = self.future
        return future is None or not future.cancelled()

    def wake(self) -> None:
        """Tell the caller to look at `slot` and `refusal`. Called without the lock."""

    def wait(self) -> Any:
        """Wait for news, at most `patience`; false if there was none. Awaitable in asyncio."""
        raise NotImplementedError


Refusal = Literal["closed", "full", "connect", "deadlock"]


class Lane:
    """The idle connections and waiters that belong together: all of a `Pool`, those of one loop.

    A connection made under one event loop is of no use under another, so an `AsyncPool` keeps a
    lane for each loop; the limit is common to all lanes.
    """

    __slots__ = ("affinity", "dialing", "face", "idle", "open", "waiters")

    def __init__(self, affinity: Hashable) -> None:
        """Start empty."""
        self.affinity: Hashable = affinity
        self.face: Any = None  # whatever a face keeps for it
        # Insertion order is order of return, so the last one is the warmest and popitem is LIFO.
        # A key stands for itself so that pop() and popitem() are each one atomic step.
        self.idle: dict[Slot, Slot] = {}
        self.waiters: Queue = Queue()
        self.dialing: int = 0  # dials under way that are not overdue
        self.open: int = 0  # places this lane takes of the limit


class Act(enum.Enum):
    """What a face can be asked to do after a transition, without the lock."""

    WAKE = enum.auto()  # a waiter that has news
    DIAL = enum.auto()
    CLOSE = enum.auto()
    CUT = enum.auto()  # off, without a word
    PING = enum.auto()  # for keepalive; upkeep holds the slot meanwhile
    LEAK = enum.auto()  # tell of a lease that was dropped without release
    LONG = enum.auto()  # tell of a lease held for longer than warn_held
    TELL = enum.auto()  # an event to the listener
    UPKEEP = enum.auto()  # something is due earlier than upkeep has planned
    RELAY = enum.auto()  # what is to be done for another pool of the group: its core, its Todo


Todo = list[tuple[Act, Any]]
"""Acts and their subjects (a waiter, a slot, an event, a core, nothing), in order. None of them waits."""
