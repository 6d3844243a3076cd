"""The state of the reference: all connections and callers in plain lists, counted anew each time.

`settle` is here too, the rules that hold after every transition; the transitions are in `reference`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field

from cenote._core.ledger import LIFETIME_JITTER, LOOK_AGAIN, SHORT_HOLD
from cenote._core.upkeep import OVERDUE_GRACE
from cenote.options import Options

INF = float("inf")


@dataclass(eq=False)
class Conn:
    """One connection. `state` is connecting, overdue, idle, out or closing."""

    id: int
    lane: str
    since: float
    generation: int
    state: str = "connecting"
    opened: float = 0.0
    answered: float = 0.0
    expires: float = INF
    rested: float = 0.0
    uses: int = 0
    brief: bool = True
    held: bool = False
    owner: Hashable = 0
    warned_for: float = -1.0


@dataclass(eq=False)
class Wait:
    """One acquire. It is asking, queued, granted, refused or gone."""

    name: str
    lane: str
    stack: frozenset[Hashable]
    state: str = "asking"
    conn: Conn | None = None
    why: str | None = None
    ticket: int = 0
    queued_at: float = 0.0
    surplus: bool = False
    deaths: int = 0
    willing: bool = True
    woken: int = 0
    fresh: bool = False


@dataclass(eq=False)
class Place:
    """The connections at rest and the callers in the queue of one lane: coldest first, oldest first."""

    shelf: list[Conn] = field(default_factory=list)
    queue: list[Wait] = field(default_factory=list)


class Book:
    """What there is, and the rules it has to obey."""

    def __init__(self, options: Options, jitter: float, now: float, *, eventful: bool) -> None:
        self.options = options
        self.eventful = eventful
        self.jitter = jitter
        self.now = now
        self.conns: list[Conn] = []
        self.places: dict[str, Place] = {}
        self.dropped: list[Conn] = []
        self.closed = False
        self.generation = self.failures = self.ids = self.tickets = self.past_uses = 0
        self.failing_since = self.retry_at = self.keepalive_at = 0.0
        self.reasons: dict[str, int] = {}
        self.wait_count = self.timeouts = self.rejected = self.connects = self.connect_errors = 0
        self.waits: list[float] = []
        self.holds: list[float] = []
        self.long: list[int] = []

    # ── counting ──────────────────────────────────────────────────────────────────────────────────────

    def count(self, *states: str, lane: str | None = None) -> int:
        return sum(conn.state in states and lane in {None, conn.lane} for conn in self.conns)

    @property
    def queued(self) -> int:
        return sum(len(place.queue) for place in self.places.values())

    @property
    def max_open(self) -> float:
        return INF if self.options.max_open is None else self.options.max_open

    @property
    def calm(self) -> bool:
        few = len(self.conns) <= min(self.options.idle_limit, self.max_open)
        return few and not (self.queued or self.closed or self.dropped)

    @property
    def saturated(self) -> bool:
        """Whether the queue is all there is: then acquire and release look at nothing else."""
        full = len(self.conns) == self.options.limit and len(self.places) == 1
        is_open = self.options.on_full != "reject" and self.options.max_waiting is None
        return full and is_open and not (self.closed or self.eventful)

    @property
    def patience(self) -> float:
        return self.options.connect_timeout + OVERDUE_GRACE

    @property
    def ping_after(self) -> float:
        return INF if self.options.ping_after is None else self.options.ping_after

    def place(self, lane: str) -> Place:
        return self.places.setdefault(lane, Place())

    def in_state(self, state: str) -> Iterator[Conn]:
        return iter([conn for conn in self.conns if conn.state == state])

    # ── single steps ──────────────────────────────────────────────────────────────────────────────────

    def leave_queue(self, wait: Wait) -> None:
        queue = self.place(wait.lane).queue
        if wait in queue:
            queue.remove(wait)
            if wait.surplus:
                self.waits.append(self.now - wait.queued_at)

    def refuse(self, wait: Wait, why: str) -> None:
        wait.state, wait.why = "refused", why

    def grant(self, wait: Wait, conn: Conn) -> None:
        wait.state, wait.conn = "granted", conn
        wait.fresh = conn.brief and conn.rested == 0 and conn.generation == self.generation
        wait.woken += 1

    def count_use(self, conn: Conn, *, short_way: bool = False) -> None:
        conn.uses += 1
        if not short_way:  # which looks at the length of the hold for the histogram alone
            conn.brief = self.now - conn.since < LOOK_AGAIN
        if self.now - conn.since > SHORT_HOLD:
            self.holds.append(self.now - conn.since)

    def set_age(self, conn: Conn) -> None:
        lifetime = self.options.max_lifetime or INF
        conn.expires = conn.opened + lifetime * (1 - LIFETIME_JITTER * self.jitter)

    def doubt(self, conn: Conn) -> None:
        self.generation += conn.generation == self.generation

    def close(self, conn: Conn, reason: str) -> None:
        if conn not in self.conns or conn.state == "closing":
            return
        if conn.state == "idle":
            self.place(conn.lane).shelf.remove(conn)
        conn.state, conn.expires = "closing", -INF
        self.reasons[reason] = self.reasons.get(reason, 0) + 1

    def remove(self, conn: Conn) -> None:
        self.conns.remove(conn)
        conn.expires = -INF
        self.past_uses += conn.uses

    def pop_warmest(self, place: Place) -> Conn | None:
        for conn in reversed(list(place.shelf)):
            rested = self.now - conn.since
            spare = self.count("idle") > self.options.min_idle
            if self.now >= conn.expires:
                self.close(conn, "max_lifetime")
            elif rested >= (self.options.max_idle_time or INF) and spare:
                self.close(conn, "max_idle_time")
            else:
                place.shelf.remove(conn)
                conn.rested = self.now - max(conn.since, conn.answered)
                conn.state, conn.since = "out", self.now
                return conn
        return None

    def close_coldest(self, reason: str, places: list[Place]) -> None:
        self.close(min((p.shelf[0] for p in places if p.shelf), key=lambda conn: conn.since), reason)

    # ── what must hold after every transition ─────────────────────────────────────────────────────────

    def settle(self) -> None:
        for conn in self.dropped:
            if conn in self.conns:
                conn.held = False
                self.count_use(conn)
                self.close(conn, "dropped")
        self.dropped = []
        if self.closed:
            for conn in self.in_state("idle"):
                self.close(conn, "shut")
            return
        self.shrink(self.options.limit)
        for lane in self.places:
            self.hand_over(lane)
        self.shrink(self.max_open)
        while self.count("idle") > self.options.idle_limit:
            self.close_coldest("max_idle", list(self.places.values()))
        while self.grow():
            pass

    def shrink(self, most: float) -> None:
        while len(self.conns) - self.count("closing") > most and self.count("idle"):
            self.close_coldest("max_idle", list(self.places.values()))

    def hand_over(self, lane: str) -> None:
        place = self.places[lane]
        while place.shelf and place.queue:
            if self.owes_place(lane):
                self.close_coldest("moved", [place])
                continue
            wait = place.queue[0]
            if not wait.willing:
                self.leave_queue(wait)
            elif conn := self.pop_warmest(place):
                self.leave_queue(wait)
                self.grant(wait, conn)

    def owes_place(self, lane: str) -> bool:
        opened = {name: sum(conn.lane == name for conn in self.conns) for name in self.places}
        wanting = [name for name, place in self.places.items() if opened[name] or place.queue]
        if len(self.places) == 1 or self.options.limit == INF:
            return False
        share = self.options.limit // len(wanting)
        oldest = self.places[lane].queue[0].ticket
        return opened[lane] > share and any(
            self.places[name].queue
            and opened[name] + self.count("closing") < max(share, 1)
            and self.places[name].queue[0].ticket < oldest
            for name in wanting
        )

    def grow(self) -> bool:
        """Start one dial if one is wanted, allowed and not paused; say whether to look again."""
        lane = self.wants_dial()
        most = 1 if self.failures else self.options.max_connecting
        if lane is None or self.count("connecting") >= most:
            return False
        if len(self.conns) >= self.options.limit:
            if self.count("closing") < self.queued and self.count("idle"):
                self.close_coldest("moved", list(self.places.values()))
            return False
        if self.now < self.retry_at:
            return False
        self.ids += 1
        self.conns.append(Conn(self.ids, lane, self.now, self.generation))
        return True

    def wants_dial(self) -> str | None:
        short = [n for n, p in self.places.items() if len(p.queue) > self.count("connecting", lane=n)]
        if short:
            return min(short, key=lambda name: self.places[name].queue[0].ticket)
        missing = self.options.min_idle + self.queued - self.count("idle", "connecting")
        if self.places and self.options.min_idle and missing > 0 and len(self.conns) < self.max_open:
            return list(self.places)[-1]
        return None
