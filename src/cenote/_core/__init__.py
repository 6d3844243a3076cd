"""The pool's whole state and every transition of it. No I/O, no clock, no waiting.

Everything that changes a pool is in this package. A transition takes `now` (monotonic seconds),
changes the state and returns a `Todo`: whom to wake, what to dial, close or ping. The face
carries it out without the lock and reports back by the next transition.

Read in this order: `state` (the records), `queue` (who waits), `budget` (the places that several
pools share), `ledger` (the state and the single steps on it), `settle` (the invariants and the one
place that restores them), `core` (acquire, release, dials: what a face calls), `upkeep` (what is
due with time).

The states of a slot and the legal moves::

    from         to           by                      when
    -            CONNECTING   settle: grow            a waiter or min_idle wants one, and a place is free
    CONNECTING   OPEN idle    dialed                  settled at once: to the oldest waiter, or kept
    CONNECTING   GONE         dial_failed             the place is free, backoff begins
    OPEN idle    OPEN in use  take, request, settle   hit, slow hit, hand-off
    OPEN in use  OPEN idle    put, release            plain, or settled at once as above
    OPEN idle    CLOSING      settle, tick, shut      surplus, expired, moved to another lane or pool, closed
    OPEN idle    CLOSING      lost                    its event loop has seen the peer go
    OPEN in use  CLOSING      release, discard, bury  expired, broken, discarded, dropped, dead on acquire
    CLOSING      GONE         farewelled              the server said goodbye: only now its place is free
    any          GONE         cut_off, forget         close(timeout=) ran out, or the loop is closed

Two moves run without the lock, `take` and `put`: the pop of an idle slot and its return are one
atomic dict operation each, and everything else they touch belongs to the holder. They are only
made in *calm*: no waiter, nothing surplus, not closed, nothing dropped. Whoever ends the calm
does so first and looks at the idle slots afterwards; `put` returns its slot first and looks at
the calm afterwards. One of the two therefore sees the other, no wake-up is lost, and nobody
barges: with a waiter queued there is no calm. See docs/decisions/0002-hit-without-lock.md.

All other transitions need the lock, which a finalizer may find in its own thread's hands: then it
is put off, see `Budget.owned`. They end in `settle`, which restores the invariants: no waiter
while an idle slot would serve it, never more slots than the limit, no surplus idle slot, as many
dials as are wanted and allowed. Capacity that is freed in any way thus always wakes a waiter.
"""

from .budget import Budget
from .core import QUEUED, Core
from .state import NEVER, NOTHING, Act, Lane, Refusal, Slot, State, Todo, Waiter

__all__ = [
    "NEVER",
    "NOTHING",
    "QUEUED",
    "Act",
    "Budget",
    "Core",
    "Lane",
    "Refusal",
    "Slot",
    "State",
    "Todo",
    "Waiter",
]
