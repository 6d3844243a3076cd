"""Connections without a server, for the cases that measure the pool and nothing else."""

from __future__ import annotations


class FakeConnection:
    """The least a connection can be: something to close."""

    def close(self) -> None:
        """Nothing was opened."""


class FakeCursor:
    """What a DB-API pool may ask a connection for."""

    def execute(self, _statement: str) -> None:
        """Nothing is asked."""

    def close(self) -> None:
        """Nothing was opened."""


class FakeDbapiConnection(FakeConnection):
    """A connection with the methods that the DB-API pools call."""

    threadsafety = 2

    def cursor(self) -> FakeCursor:
        """Give a cursor that does nothing."""
        return FakeCursor()

    def commit(self) -> None:
        """Nothing was begun."""

    def rollback(self) -> None:
        """Nothing was begun."""


class FakeConnector:
    """The least a connector can be, so that nothing but the pool is measured."""

    def connect(self, _timeout: float) -> FakeConnection:
        """Open one."""
        return FakeConnection()

    def close(self, connection: FakeConnection) -> None:
        """Close it."""
        connection.close()


class AsyncFakeConnector:
    """The same for asyncio."""

    async def connect(self, _timeout: float) -> FakeConnection:
        """Open one."""
        return FakeConnection()

    async def close(self, connection: FakeConnection) -> None:
        """Close it."""
        connection.close()
