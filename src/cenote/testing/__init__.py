"""Fakes for tests of code that uses a pool: time, connections and events by remote control.

Nothing here sleeps. A `FakeClock` stands still until it is advanced; what a `ScriptedConnector` does
succeeds at once, fails as told, or blocks until it is let go; an `EventLog` remembers what a pool reports
and waits for what it has not reported yet::

    clock, connector, log = FakeClock(), ScriptedConnector("ping"), EventLog()
    pool = cenote.Pool(connector, clock=clock, listener=log, max_open=1)
    connector.connecting.fail(ConnectionRefusedError())      # the next dial
    connector.connecting.hold()                              # later dials block ...
    connector.connecting.release()                           # ... until here

For the author of a driver there is a suite that proves his connector and his dialect: `contract`.
"""

from __future__ import annotations

from . import _fakes
from ._contract import Check, Subject, contract
from ._events import EventLog
from ._fakes import (
    AsyncScriptedConnector,
    Control,
    FakeClock,
    FakeConnection,
    HookName,
    ScriptedConnector,
)

__all__ = [
    "AsyncScriptedConnector",
    "Check",
    "Control",
    "EventLog",
    "FakeClock",
    "FakeConnection",
    "HookName",
    "ScriptedConnector",
    "Subject",
    "contract",
]

SAFETY = _fakes.SAFETY
"""Seconds after which what a test waits for counts as never coming. No test that passes waits so long."""
