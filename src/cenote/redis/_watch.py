"""redis-py's connections, watched: what is owed, and in what state the server holds the session.

Redis answers every command once and in order, and tells nobody of its state. So whether a connection may be
handed to the next caller is known for free only to those who count: commands sent, replies read, and the few
commands that change what the next one means. All of it is one number, which is 0 when all is well.

Whatever cannot be followed (a command packed elsewhere, a subscription, another database) leaves a mark that
stays until the connection is closed, which is the safe side.
"""

from __future__ import annotations

import asyncio
import sys
import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import redis.asyncio.connection
import redis.connection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from .. import _sockets
from ._commands import NAMES, OWED, REAUTH, RECONNECT, REDIALED, SPENT, Packed, moved, replied
from ._socket import timed

if TYPE_CHECKING:
    from .._pool import Hold

    class Known:
        """What is used of redis-py's connections, in both worlds."""

        db: Any
        _parser: Any

        def pack_commands(self, commands: list[Any]) -> list[Any]: ...
        def set_re_auth_token(self, token: Any) -> None: ...
        def mark_for_reconnect(self) -> None: ...
        def __del__(self) -> None: ...

    class Blocking(Known):
        """... in threads."""

        _sock: Any
        _command_packer: Any

        def _connect(self) -> Any: ...
        def send_packed_command(self, command: Any, *, check_health: bool) -> None: ...
        def read_response(self, *args: Any, **kwargs: Any) -> Any: ...
        def re_auth(self) -> None: ...
        def disconnect(self, *args: Any, **kwargs: Any) -> None: ...

    class Awaited(Known):
        """... in asyncio."""

        _reader: Any
        _writer: Any
        health_check_interval: float

        def pack_command(self, *args: Any) -> list[Any]: ...
        async def send_packed_command(self, command: Any, *, check_health: bool) -> None: ...
        async def read_response(self, *args: Any, **kwargs: Any) -> Any: ...
        async def re_auth(self) -> None: ...
        async def disconnect(self, *args: Any, **kwargs: Any) -> None: ...
        def _close(self) -> None: ...
else:
    Known = Blocking = Awaited = object  # mixed into a class of redis-py's, see `watched`

WAITS_ABOVE = 16_384
"""Bytes in a transport's buffer, of the 65,536 above which asyncio wants writers to wait."""


def _is_loss(error: BaseException | None) -> bool:
    """Whether an error in flight says that the peer has gone; a time-out does not."""
    return isinstance(error, OSError | RedisConnectionError) and not isinstance(error, TimeoutError)


class StandIn:
    """Takes a connection's place in its slot while a user of the drop-in pool has it.

    The pool must not keep it alive then: one that its user has lost is to be found by the garbage collector.
    """

    __slots__ = ("__weakref__", "connection")

    def __init__(self, connection: object) -> None:
        """Refer to it weakly."""
        self.connection = weakref.ref(connection)


class WatchedBase(Known):
    """What is the same in both worlds: the marks, and what is noted without talking."""

    _pool_state = 0
    _pool_hold: Hold | None = None  # of the user who has it, in a drop-in pool
    _pool_stand_in: StandIn | None = None  # set in a drop-in pool alone
    _pool_lost = False  # closed since the server was lost, and not because its user wanted so

    @staticmethod
    def _pool_unread() -> int:
        """Whether bytes have come that no reply has used; replaced in `opened`."""
        return 0

    def pack_commands(self, commands: Iterable[Any]) -> Packed:
        """Pack them, and remember which they are."""
        listed = list(commands)
        packed = Packed(super().pack_commands(listed))
        packed.commands = listed
        return packed

    def set_re_auth_token(self, token: Any) -> None:
        """Remember new credentials; they are sent on release, or before the next use."""
        super().set_re_auth_token(token)
        self._pool_state |= REAUTH

    def mark_for_reconnect(self) -> None:
        """Have it closed when its user is done with it."""
        if hasattr(super(), "mark_for_reconnect"):  # from redis-py 7 on
            super().mark_for_reconnect()
        self._pool_state |= RECONNECT

    def _owe(self, command: Any) -> tuple[int, int]:
        """Note what packed commands do; return the new state, and how much of it are their replies."""
        state, replies = self._pool_state, 0
        for args in command.commands if isinstance(command, Packed) else ():
            replies += OWED
            name = NAMES[args[0]]
            if name is not None:
                state = moved(state, name, args, self.db)
        self._pool_state = state = state + replies if replies else state | SPENT
        return state, replies


class Watched(WatchedBase, Blocking):
    """The part of a watched connection for threads that comes before redis-py's class."""

    def _connect(self) -> Any:
        """Connect, with a socket that takes half the system calls."""
        return timed(super()._connect())

    def opened(self) -> None:
        """Begin to count: whatever connecting took is over."""
        parser: Any = self._parser
        buffer = getattr(getattr(parser, "_buffer", None), "_buffer", None)
        if buffer is not None:  # emptied and rewound whenever a reply has used all of it
            self._pool_unread = buffer.tell  # type: ignore[method-assign]  # a C method, since it is asked often
        elif hasattr(parser, "_reader"):
            self._pool_unread = parser._reader.has_data  # type: ignore[method-assign]  # as above
        self._pool_state = 0

    def send_command(self, *args: Any, **kwargs: Any) -> None:
        """Send one command."""
        packed = self._command_packer.pack(*args)
        state = self._pool_state
        name = NAMES[args[0]]
        if name is not None:
            state = moved(state, name, args, self.db)
        self._pool_state = state = state + OWED
        super().send_packed_command(packed, check_health=kwargs.get("check_health", True))
        if self._pool_state != state:  # redis-py opened another connection before it sent this
            self._pool_state = REDIALED + OWED

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:  # noqa: FBT001, FBT002 - as in redis-py
        """Send what `pack_commands` has packed. Of what was packed elsewhere nobody knows the replies."""
        state, replies = self._owe(command)
        super().send_packed_command(command, check_health=check_health)
        if self._pool_state != state:
            self._pool_state = REDIALED + replies

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        """Read one reply."""
        try:
            response = super().read_response(*args, **kwargs)
        except ResponseError as error:
            self._pool_state = replied(self._pool_state - OWED, error)
            raise
        if not kwargs or not kwargs.get("push_request"):  # what the server sends unasked is no reply
            self._pool_state = state = self._pool_state - OWED
            if state:
                self._pool_state = replied(state)
        return response

    def re_auth(self) -> None:
        """Send the new credentials, which changes nothing for those who use it."""
        state = self._pool_state
        super().re_auth()
        self._pool_state = state & ~REAUTH

    def disconnect(self, *args: Any, **kwargs: Any) -> None:
        """Close it. One that is idle in a pool is only cut off: its number is still looked at there."""
        self._pool_state = REDIALED
        self._pool_lost = _is_loss(sys.exception())
        if self._pool_hold is None and self._pool_stand_in is not None and self._sock is not None:
            _sockets.cut(self._sock.fileno())
            return
        super().disconnect(*args, **kwargs)

    def part(self) -> None:
        """Close it without a word to the server, which a `Farewell` says and hears out."""
        sock, self._sock = self._sock, None
        if sock is not None:
            sock.close()
        self._pool_stand_in = None
        super().disconnect()

    def __del__(self) -> None:
        """Close it."""
        self._pool_stand_in = None
        super().__del__()


class AsyncWatched(WatchedBase, Awaited):
    """The part of a watched connection for asyncio that comes before redis-py's class."""

    _pool_loop: asyncio.AbstractEventLoop | None = None
    _pool_watch: Callable[[int], object] | None = None  # the free look, which keeps no connection alive

    def opened(self) -> None:
        """Begin to count: whatever connecting took is over."""
        self._pool_loop = asyncio.get_running_loop()
        received: Any = getattr(self._reader, "_buffer", b"")
        reader: Any = getattr(self._parser, "_reader", None)  # hiredis has one more buffer
        self._pool_unread = (  # type: ignore[method-assign]  # a C method, since it is asked often
            received.__len__ if reader is None else lambda: len(received) or reader.has_data()
        )
        self._pool_state = 0

    def watch(self, fileno: int) -> None:
        """Prepare the free look: at what asyncio has read or met, then at the socket."""
        stream, unread, look = self._reader, self._pool_unread, _sockets.watch(fileno)
        self._pool_watch = lambda _: stream._eof or unread() or stream._exception is not None or look(0)

    async def send_command(self, *args: Any, **kwargs: Any) -> None:
        """Send one command."""
        packed = self.pack_command(*args)
        state = self._pool_state
        name = NAMES[args[0]]
        if name is not None:
            state = moved(state, name, args, self.db)
        self._pool_state = state = state + OWED
        await self._send(packed, check_health=kwargs.get("check_health", True))
        if self._pool_state != state:  # redis-py opened another connection before it sent this
            self._pool_state = REDIALED + OWED

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:  # noqa: FBT001, FBT002 - as in redis-py
        """Send what `pack_commands` has packed. Of what was packed elsewhere nobody knows the replies."""
        state, replies = self._owe(command)
        await self._send(command, check_health=check_health)
        if self._pool_state != state:
            self._pool_state = REDIALED + replies

    async def _send(self, packed: Any, *, check_health: bool) -> None:
        """Do as redis-py does, but make no task with a time-out where there is nothing to wait for."""
        writer, reader = self._writer, self._reader
        asks_first = check_health and self.health_check_interval
        lost = writer is None or reader.exception() is not None or writer.transport.is_closing()
        if asks_first or lost or isinstance(packed, str | bytes):
            await super().send_packed_command(packed, check_health=check_health)
            return
        writer.writelines(packed)
        if writer.transport.get_write_buffer_size() > WAITS_ABOVE:
            await super().send_packed_command((), check_health=False)  # waits until it may write on

    async def read_response(self, *args: Any, **kwargs: Any) -> Any:
        """Read one reply. None at the end of a time-out may be none, so it is not counted."""
        try:
            response = await super().read_response(*args, **kwargs)
        except ResponseError as error:
            self._pool_state = replied(self._pool_state - OWED, error)
            raise
        if (kwargs or args) and self._is_no_reply(response, args, kwargs):
            return response
        self._pool_state = state = self._pool_state - OWED
        if state:
            self._pool_state = replied(state)
        return response

    @staticmethod
    def _is_no_reply(response: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        timed = len(args) > 1 or kwargs.get("timeout") is not None
        return bool(kwargs.get("push_request")) or (timed and response is None)

    async def re_auth(self) -> None:
        """Send the new credentials, which changes nothing for those who use it."""
        state = self._pool_state
        await super().re_auth()
        self._pool_state = state & ~REAUTH

    async def disconnect(self, *args: Any, **kwargs: Any) -> None:
        """Close it."""
        self._mark_closed()
        await super().disconnect(*args, **kwargs)

    def _close(self) -> None:
        """Close it without waiting."""
        self._mark_closed()
        super()._close()

    def _mark_closed(self) -> None:
        self._pool_state = REDIALED
        self._pool_lost = _is_loss(sys.exception())
        if self._reader is not None:
            self._reader.feed_eof()  # the free look must not go on to a socket that is closed any moment


LENT: Any = object()
"""Stands for the proof of a lease where only the fact is wanted."""


class WatchedProxy(redis.connection.CacheProxyConnection):
    """A connection with redis-py's client-side cache in front; its state is that of the one behind."""

    _conn: Any  # a `Watched`
    _held: Hold | None = None

    @property
    def _pool_hold(self) -> Hold | None:
        return self._held

    @_pool_hold.setter
    def _pool_hold(self, hold: Hold | None) -> None:
        self._held = hold
        # The cache keeps the one behind alive, which must therefore not keep the proof of the lease.
        self._conn._pool_hold = None if hold is None else LENT

    @property
    def _pool_state(self) -> int:
        state: int = self._conn._pool_state
        return state

    @property
    def _pool_unread(self) -> Callable[[], int]:
        unread: Callable[[], int] = self._conn._pool_unread
        return unread

    @property
    def _pool_stand_in(self) -> StandIn | None:
        stand_in: StandIn | None = self._conn._pool_stand_in
        return stand_in

    @property
    def _pool_lost(self) -> bool:
        lost: bool = self._conn._pool_lost
        return lost

    def _get_parser(self) -> Any:
        return self._conn._get_parser()


def watched(connection_class: type[Any]) -> type[Any]:
    """Make a watched class of one of redis-py's, or of a user's own; the same one each time."""
    made = _classes.get(connection_class)
    if made is None:
        made = _classes[connection_class] = _watched(connection_class)
    return made


_classes: weakref.WeakKeyDictionary[type[Any], type[Any]] = weakref.WeakKeyDictionary()


def _watched(connection_class: type[Any]) -> type[Any]:
    is_async = issubclass(connection_class, redis.asyncio.connection.AbstractConnection)
    base: type[Any] = AsyncWatched if is_async else Watched
    if issubclass(connection_class, base):
        return connection_class
    return type(
        connection_class.__name__, (base, connection_class), {"__module__": connection_class.__module__}
    )
