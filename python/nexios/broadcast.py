"""One message to many clients: of a router, or of a room."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

from nexios.exceptions import PresenceError
from nexios.presence import Present, present

if TYPE_CHECKING:
    from typing_extensions import Self

    from nexios._nexios import Engine, Handle, RoomHandle, RouterHandle, WebSocket
    from nexios.history import History

    Client: TypeAlias = str | WebSocket | Handle

from nexios.exceptions import BrokerError
from nexios.history import HistoryPage, StoredMessage

__all__ = ["Connections", "Outcome", "Room"]


class Outcome(int):
    """The number of clients that a message goes to, on this node, when it was sent.

    ``dropped`` counts those left out because they are too slow. After ``broadcast_to``,
    ``unknown`` has the ids without a connection, or with a broker ``forwarded`` does.

    >>> outcome = await app.broadcast_to([ws.id, "nobody"], "hello")
    >>> outcome == 1, outcome.dropped, outcome.unknown
    (True, 0, ['nobody'])
    """

    dropped: int
    #: True if the message was sent: without a broker to the clients of this node, with one also into the queue for
    #: other nodes. False if that queue is full, because the broker is away, and if the broker of a room with history
    #: refuses it.
    accepted: bool
    #: The position at which the broker has stored it. ``None`` without a history, and if the broker has not answered
    #: within five seconds; an accepted message is stored once it is back.
    stored: str | None
    #: The number of other servers of the broker that have it, as far as the broker reports it.
    replicated: int
    #: True if a message with the same ``idempotency_key`` was stored before. Then this one is not stored, and
    #: ``stored`` is the position of the first. Keys of ``nexios.v1`` clients never equal those of the application.
    duplicate: bool
    unknown: list[str]
    forwarded: list[str]

    def __new__(
        cls,
        count: int = 0,
        dropped: int = 0,
        unknown: Iterable[str] = (),
        forwarded: Iterable[str] = (),
        accepted: bool = False,
        stored: str | None = None,
        replicated: int = 0,
        duplicate: bool = False,
    ) -> Self:
        outcome = super().__new__(cls, count)
        outcome.dropped = dropped
        outcome.accepted = accepted
        outcome.stored = stored
        outcome.replicated = replicated
        outcome.duplicate = duplicate
        outcome.unknown = list(unknown)
        outcome.forwarded = list(forwarded)
        return outcome

    @property
    def count(self) -> int:
        """The number itself.

        >>> (await app.broadcast("hello")).count
        1
        """
        return int(self)

    def __str__(self) -> str:
        return int.__repr__(self)

    def __repr__(self) -> str:
        stored = "" if self.stored is None else f", stored={self.stored!r}, replicated={self.replicated}"
        if self.duplicate:
            stored += ", duplicate=True"
        return (
            f"Outcome({int(self)}, dropped={self.dropped}, accepted={self.accepted}, unknown={self.unknown}, "
            f"forwarded={self.forwarded}{stored})"
        )


class Serving:
    """The server of a router: set when its app starts, empty before and after."""

    __slots__ = ("declared", "engine", "handle", "on_fault")

    engine: Engine | None
    handle: RouterHandle | None
    #: Called with each exception that no handler took and with the connection's id, while a test client serves.
    on_fault: Callable[[str, BaseException], object] | None
    #: Histories of rooms from before the app was served; a server gets them when it starts.
    declared: dict[str, History]

    def __init__(self) -> None:
        self.engine = None
        self.handle = None
        self.on_fault = None
        self.declared = {}

    def serve(self, engine: Engine, handle: RouterHandle) -> None:
        """Sets the server when it starts, and gives it the rooms with history."""
        self.engine, self.handle = engine, handle
        for name, history in self.declared.items():
            handle.declare(name, (history.size, history.ttl))


class Connections:
    """The clients that are connected when it is looked at: iterable, and ``len()`` counts them."""

    __slots__ = ("_room", "_serving")

    def __init__(self, serving: Serving, room: str | None = None) -> None:
        self._serving = serving
        self._room = room

    def _handle(self) -> RouterHandle | RoomHandle | None:
        handle = self._serving.handle
        return handle if handle is None or self._room is None else handle.room(self._room, None)

    def __len__(self) -> int:
        handle = self._handle()
        return 0 if handle is None else handle.count()

    def __iter__(self) -> Iterator[WebSocket]:
        handle = self._handle()
        return iter([] if handle is None else handle.connections(self._serving.engine))

    def __contains__(self, client: object) -> bool:
        return any(client is ws or client == ws.id for ws in self)

    def __repr__(self) -> str:
        return f"<Connections {len(self)}>"


async def _to_no_client(unknown: list[str]) -> Outcome:
    return Outcome(unknown=unknown)


class Audience:
    """Clients that a message can be broadcast to."""

    _serving: Serving

    def _target(self) -> RouterHandle | RoomHandle | None:
        return self._serving.handle

    def broadcast(
        self,
        message: object,
        *,
        exclude: Client | Iterable[Client] | None = None,
        key: str | None = None,
        idempotency_key: str | None = None,
        compress: bool | None = None,
    ) -> Coroutine[Any, Any, Outcome]:
        """Sends a message to every connected client: ``str`` as text, bytes as binary, else JSON.

        It is encoded once, and returns an ``Outcome``: how many it goes to. ``exclude`` leaves connections or ids
        out; under the policy ``"conflate"`` a slow client gets only the newest message of a ``key``;
        ``compress=False`` leaves it uncompressed. A room with history stores it first, and of messages with one
        ``idempotency_key`` only the first within five minutes.

        >>> await app.broadcast({"news": "rain"})
        Outcome(1, dropped=0, accepted=True, unknown=[], forwarded=[])
        >>> await client.receive_json()
        {'news': 'rain'}
        >>> await app.broadcast("you know that already", exclude=ws) == 0
        True
        """
        target = self._target()
        if target is None:
            return _to_no_client([])
        return target.broadcast(self._serving.engine, Outcome, message, exclude, key, idempotency_key, compress)

    def broadcast_to(
        self, clients: Client | Iterable[Client], message: object, *, compress: bool | None = None
    ) -> Coroutine[Any, Any, Outcome]:
        """Sends a message to clients named by connection id, client id, or connection.

        Ids without a connection are in ``Outcome.unknown``.

        >>> ws.client_id = "ann"
        >>> await app.broadcast_to(["ann", "bob"], "hello")
        Outcome(1, dropped=0, accepted=True, unknown=['bob'], forwarded=[])
        >>> await client.receive_text()
        'hello'
        """
        target = self._target()
        if target is None:
            several = [clients] if isinstance(clients, str) or not isinstance(clients, Iterable) else clients
            return _to_no_client([client for client in several if isinstance(client, str)])
        return target.broadcast_to(self._serving.engine, Outcome, clients, message, compress)


def _page(messages: list[tuple[str | bytes, str, float]], position: str, recovered: bool) -> HistoryPage:
    return HistoryPage([StoredMessage(*stored) for stored in messages], position, recovered)


class Room(Audience):
    """A set of connections with a name; ``await ws.join(name)`` enters it.

    Rooms are the app's: ``router.room("x")`` and ``app.room("x")`` are one room. Leaving is automatic at disconnect.
    With a ``History`` it stores its messages: see ``router.room``.

    >>> await ws.join("general")
    True
    >>> await app.room("general").broadcast("hello") == 1
    True
    """

    def __init__(self, serving: Serving, name: str, history: History | None = None) -> None:
        self._serving = serving
        self._room_name = name
        self._history = history
        #: The server that was last used, and the room there: while that lives, the app knows the room's history.
        self._found: tuple[RouterHandle, RoomHandle] | None = None
        if history is not None and self._target() is None:
            serving.declared[name] = history

    def _target(self) -> RoomHandle | None:
        handle = self._serving.handle
        if handle is None:
            return None
        if self._found is None or self._found[0] is not handle:
            history = None if self._history is None else (self._history.size, self._history.ttl)
            self._found = handle, handle.room(self._room_name, history)
        return self._found[1]

    @property
    def name(self) -> str:
        """The name of the room.

        >>> app.room("general").name
        'general'
        """
        return self._room_name

    def members(self) -> Connections:
        """Returns the connections that are in the room when it is looked at.

        >>> await ws.join("general")
        True
        >>> [member.id for member in app.room("general").members()] == [ws.id]
        True
        """
        return Connections(self._serving, self._room_name)

    def count(self) -> int:
        """Returns the number of connections in the room.

        >>> app.room("general").count()
        0
        """
        return len(self.members())

    async def track(self, ws: WebSocket, data: object = None) -> None:
        """Shows a connection's user in ``presence()``, with data of the application's choice: up to 4 KiB as JSON.

        The user is ``ws.client_id``, else ``ws.id``; several connections of one are one user. Tracking again replaces
        the data; leaving the room or disconnecting ends it. Raises ``PresenceError`` where the connection is not in
        the room, the data are too long, or there are too many users.

        >>> await ws.join("general")
        True
        >>> await app.room("general").track(ws, {"status": "busy"})
        >>> [present.data for present in await app.room("general").presence()]
        [{'status': 'busy'}]
        """
        target = self._target()
        if target is None:
            raise PresenceError("the app is not served")
        target.track(ws, data)

    async def untrack(self, ws: WebSocket) -> bool:
        """Ends what ``track()`` began; returns true if the connection was tracked.

        >>> await app.room("general").untrack(ws)
        False
        """
        target = self._target()
        return target is not None and target.untrack(ws)

    async def presence(self) -> list[Present]:
        """Returns the users in the room on all nodes, by name, as far as they are tracked by ``track()``.

        A node that has neither tracked a user in this room nor read its presence within a minute first waits for
        other nodes, up to a quarter of a second.

        >>> await app.room("general").presence()
        []
        """
        target, engine = self._target(), self._serving.engine
        return [] if target is None or engine is None else await target.presence(engine, present)

    async def presence_count(self) -> int:
        """Returns the number of users in ``presence()``, without making the list.

        >>> await app.room("general").presence_count()
        0
        """
        target, engine = self._target(), self._serving.engine
        return 0 if target is None or engine is None else await target.presence_count(engine)

    async def history(self, *, limit: int = 100, since: str | None = None) -> HistoryPage:
        """Reads the room's history: the newest ``limit`` messages, or the oldest behind a position.

        Raises ``BrokerError`` if the broker does not answer within five seconds, or stores no history.

        >>> lobby = app.room("lobby", history=History(size=1000, ttl=3600))
        >>> first, second = await lobby.broadcast("one"), await lobby.broadcast("two")
        >>> [stored.message for stored in (await lobby.history(limit=1)).messages]
        ['two']
        >>> (await lobby.history(since=second.stored)).messages
        []
        """
        if limit < 1:
            raise ValueError("limit is at least 1")
        target, engine = self._target(), self._serving.engine
        if target is None or engine is None:
            raise BrokerError("the app is not served")
        return await target.history(engine, _page, limit, since)

    def __repr__(self) -> str:
        return f"<Room {self._room_name!r} {self.count()}>"
