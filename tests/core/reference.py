"""What a pool has to do, written a second time and as plainly as possible.

It shares no line with the core, only its constants. The model lets both take the same steps and compares
them after each.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

from cenote._core.core import TRIES_FROM_POOL
from cenote._core.upkeep import BACKOFF_FIRST, BACKOFF_MOST, KEEPALIVE_STEPS, PATIENCE_DIALS, PATIENCE_SECONDS
from cenote.options import Options
from tests.core.book import INF, Book, Conn, Place, Wait


class Reference(Book):
    """A pool that is right because it is plain."""

    # ── acquire ─────────────────────────────────────────────────────────────────────────────────

    def hit(self, wait: Wait, *, suspicious: bool) -> bool:
        shelf = self.place(wait.lane).shelf
        if not (shelf and self.calm):
            return False
        conn = shelf[-1]
        rested = self.now - conn.since
        young = self.now < conn.expires and conn.generation == self.generation
        if not young or rested >= min(self.ping_after, self.options.max_idle_time or INF):
            return False
        shelf.pop()
        conn.state, conn.since = "out", self.now
        if suspicious:
            conn.rested = 0.0
        wait.state, wait.conn = "granted", conn
        return True

    def request(self, wait: Wait) -> None:
        place = self.place(wait.lane)
        if self.saturated and place.queue:
            self.enqueue(wait, place, again=False)
            return
        self.enter(wait, again=False)
        self.settle()

    def enter(self, wait: Wait, *, again: bool) -> None:
        place = self.place(wait.lane)
        wait.fresh = False
        conn = None
        if self.closed:
            self.refuse(wait, "closed")
            return
        if again or not place.queue:
            conn = self.pop_warmest(place)
        if conn is not None:
            wait.state, wait.conn = "granted", conn
        elif not again and self.queue_is_full():
            self.rejected += 1
            self.refuse(wait, "full")
        else:
            self.enqueue(wait, place, again=again)

    def enqueue(self, wait: Wait, place: Place, *, again: bool) -> None:
        if not again:
            self.tickets += 1
            wait.ticket = self.tickets
            taken = self.count("out") + self.queued >= self.options.limit
            wait.surplus = taken or (self.saturated and bool(place.queue))
            self.wait_count += wait.surplus
        wait.state, wait.queued_at = "queued", self.now
        # By age: whoever asks again stood further ahead than all who are queued, but for those like him.
        older = sum(other.ticket <= wait.ticket for other in place.queue)
        place.queue.insert(older, wait)

    def queue_is_full(self) -> bool:
        most = 0 if self.options.on_full == "reject" else self.options.max_waiting
        beyond = self.count("out", "overdue") + self.queued - self.options.limit
        return most is not None and beyond >= most

    def holds_all(self, stack: frozenset[Hashable], *, scoped: bool) -> bool:
        mine = [c for c in self.conns if c.held and c.owner in stack]
        if scoped:
            mine = [c for c in mine if isinstance(c.owner, int)]
        return len(mine) == len(self.conns) >= self.options.limit

    def needs_ping(self, conn: Conn) -> bool:
        return conn.generation != self.generation or conn.rested >= self.ping_after

    def lend(self, wait: Wait, owner: Hashable) -> Conn:
        conn = wait.conn
        assert conn is not None
        wait.state, wait.conn = "gone", None
        conn.held, conn.owner = True, owner
        return conn

    def suspect(self, wait: Wait) -> None:
        if wait in self.place(wait.lane).queue and self.holds_all(wait.stack, scoped=True):
            self.leave_queue(wait)
            self.refuse(wait, "deadlock")
        self.settle()

    def bury(self, wait: Wait) -> None:
        conn = self.lose(wait)
        wait.deaths += 1
        if wait.deaths >= TRIES_FROM_POOL:
            for suspect in [c for c in self.place(conn.lane).shelf if c.generation != self.generation]:
                self.close(suspect, "dead")
        self.enter(wait, again=True)
        self.settle()

    def give_up_check(self, wait: Wait, *, asked: bool) -> None:
        assert wait.conn is not None
        if asked:
            self.close(wait.conn, "dead")
        else:
            self.give_back(wait.conn)
        wait.state, wait.conn = "gone", None
        self.timeouts += 1
        self.settle()

    def lose(self, wait: Wait) -> Conn:
        conn, wait.conn = wait.conn, None
        assert conn is not None
        self.doubt(conn)
        self.close(conn, "dead")
        return conn

    def abandon(self, wait: Wait, *, timed_out: bool) -> None:
        self.leave_queue(wait)
        if timed_out and wait.state == "queued":
            wait.state = "gone"
            self.timeouts += 1
            if self.holds_all(wait.stack, scoped=False):
                self.refuse(wait, "deadlock")
        elif not timed_out:
            if wait.conn is not None:
                self.give_back(wait.conn)
            wait.state, wait.conn = "gone", None
        self.settle()

    def give_back(self, conn: Conn) -> None:
        conn.since -= conn.rested
        conn.brief = False
        self.reshelve(conn)

    # ── release ─────────────────────────────────────────────────────────────────────────────────

    def release(self, conn: Conn) -> None:
        conn.held = False
        if conn not in self.conns:
            self.settle()
            return
        if self.saturated and self.now < conn.expires and not self.dropped and self.inherit(conn):
            return
        calm = self.calm
        self.count_use(conn, short_way=calm and self.now < conn.expires)
        self.shelve(conn)
        if not calm or conn.state != "idle":
            self.settle()

    def inherit(self, conn: Conn) -> bool:
        """Give a connection straight to the oldest who still wants one; false if there is nobody."""
        queue = self.place(conn.lane).queue
        while queue:
            wait = queue[0]
            self.leave_queue(wait)
            if wait.willing:
                self.count_use(conn)
                conn.since, conn.rested = self.now, 0.0
                self.grant(wait, conn)
                return True
        return False

    def discard(self, conn: Conn, *, lost: bool) -> None:
        conn.held = False
        if conn in self.conns:
            self.count_use(conn)
            if lost:
                self.doubt(conn)
            self.close(conn, "discarded")
        self.settle()

    def drop(self, conn: Conn) -> None:
        self.dropped.append(conn)

    def shelve(self, conn: Conn) -> None:
        if self.now >= conn.expires:
            self.close(conn, "max_lifetime")
            return
        conn.state, conn.since = "idle", self.now
        self.place(conn.lane).shelf.append(conn)

    # ── dials and goodbyes ──────────────────────────────────────────────────────────────────────

    def dialed(self, conn: Conn) -> None:
        if conn in self.conns:
            self.connects += 1
            self.failures, self.retry_at = 0, 0.0
            conn.opened = conn.answered = self.now
            self.set_age(conn)
            self.shelve(conn)
        self.settle()

    def dial_failed(self, conn: Conn, *, cancelled: bool) -> None:
        if conn in self.conns:
            counted = conn.state == "overdue"
            self.remove(conn)
            if not cancelled and not counted:
                self.failed(conn)
        self.settle()

    def farewelled(self, conn: Conn) -> None:
        if conn in self.conns:
            self.remove(conn)
        self.settle()

    def failed(self, conn: Conn) -> None:
        self.connect_errors += 1
        if not self.failures:
            self.failing_since = conn.since
        pause = min(BACKOFF_FIRST * 2.0**self.failures, BACKOFF_MOST)
        self.failures += 1
        self.retry_at = self.now + pause * (1 - self.jitter / 2)
        lasting = self.failures >= PATIENCE_DIALS or self.now - self.failing_since >= PATIENCE_SECONDS
        if lasting and not self.count("connecting", "idle", "out"):
            self.refuse_all("connect")

    def refuse_all(self, why: str) -> None:
        for place in self.places.values():
            for wait in list(place.queue):
                self.leave_queue(wait)
                self.refuse(wait, why)
                wait.woken += 1

    # ── time ────────────────────────────────────────────────────────────────────────────────────

    def tick(self, ping: Callable[[int], None]) -> None:
        for conn in self.in_state("idle"):
            if self.now >= conn.expires:
                self.close(conn, "max_lifetime")
        for place in self.places.values():
            self.expire_idle(place)
        for conn in self.in_state("connecting"):
            if self.now >= conn.since + self.patience:
                conn.state = "overdue"
                self.failed(conn)
        if self.options.keepalive and self.now >= self.keepalive_at:
            self.keep_alive(ping)
        self.warn_of_holds()
        self.settle()

    def expire_idle(self, place: Place) -> None:
        for conn in list(place.shelf):
            rests = self.now >= conn.since + (self.options.max_idle_time or INF)
            if not rests or self.count("idle") <= self.options.min_idle:
                return
            self.close(conn, "max_idle_time")

    def keep_alive(self, ping: Callable[[int], None]) -> None:
        assert isinstance(self.options.keepalive, float)
        self.keepalive_at = self.now + self.options.keepalive / KEEPALIVE_STEPS
        enough = self.options.keepalive * (1 - self.jitter / KEEPALIVE_STEPS)
        for place in self.places.values():
            for conn in list(place.shelf):
                if self.now - max(conn.since, conn.answered) >= enough:
                    place.shelf.remove(conn)
                    conn.state = "out"
                    ping(conn.id)

    def warn_of_holds(self) -> None:
        for conn in self.conns:
            held = self.now - conn.since
            if conn.held and held >= (self.options.warn_held or INF) and conn.warned_for != conn.since:
                conn.warned_for = conn.since
                self.long.append(conn.id)

    def answered(self, conn: Conn, generation: int) -> None:
        if conn in self.conns:
            conn.answered, conn.generation = self.now, generation
            self.reshelve(conn)
        self.settle()

    def reshelve(self, conn: Conn) -> None:
        """Put back one that was only looked at, below those that are warmer."""
        if conn not in self.conns or self.now >= conn.expires:
            self.close(conn, "max_lifetime")
            return
        shelf = self.place(conn.lane).shelf
        shelf.insert(sum(other.since <= conn.since for other in shelf), conn)
        conn.state = "idle"

    def unanswered(self, conn: Conn) -> None:
        self.doubt(conn)
        self.close(conn, "keepalive")
        self.settle()

    def lost(self, conn: Conn) -> None:
        if conn.state == "idle":
            self.doubt(conn)
            self.close(conn, "lost")
        self.settle()

    # ── the whole pool ──────────────────────────────────────────────────────────────────────────

    def resize(self, options: Options) -> None:
        changed = options.max_lifetime != self.options.max_lifetime
        self.options = options
        self.keepalive_at = 0.0
        for conn in self.conns:
            if changed and conn.state in {"idle", "out"}:
                self.set_age(conn)
        self.settle()

    def shut(self) -> None:
        if not self.closed:
            self.closed = True
            self.refuse_all("closed")
        self.settle()

    def cut_off(self) -> None:
        for lane in self.places:
            self.forget_conns(lane)
        self.settle()

    def forget(self, lane: str) -> None:
        self.forget_conns(lane)
        for wait in self.places.pop(lane).queue:
            wait.state = "forgotten"
        self.settle()

    def forget_conns(self, lane: str) -> None:
        self.place(lane).shelf.clear()
        for conn in [conn for conn in self.conns if conn.lane == lane]:
            if conn.held:
                self.count_use(conn)
                conn.held = False
            self.remove(conn)
