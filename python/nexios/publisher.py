"""Publishing without serving: from a script, a cron job, a task queue, another service."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from nexios import _nexios
from nexios.broker import Broker, MemoryBroker, as_broker
from nexios.history import History

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["AsyncPublisher", "Published", "Publisher"]

Names = str | Iterable[str]


class Published(NamedTuple):
    """The result of a broadcast by a publisher: the broker has the message.

    >>> with Publisher(MemoryBroker()) as publisher:
    ...     first = publisher.room("lobby", history=History()).broadcast("hello", idempotency_key="k1")
    ...     again = publisher.room("lobby", history=History()).broadcast("hello", idempotency_key="k1")
    >>> first.stored is not None, first.stored == again.stored, first.duplicate, again.duplicate
    (True, True, False, True)
    """

    #: The position at which the broker has stored it; ``None`` without a history.
    stored: str | None
    #: The number of other servers of the broker that have it, as far as the broker reports it.
    replicated: int
    #: True if a message with the same ``idempotency_key`` was stored before. Then this one is not stored, and
    #: ``stored`` is the position of the first.
    duplicate: bool = False


class _Target:
    """The audience of a message."""

    def __init__(
        self,
        publisher: _nexios.Publisher,
        router: str | None = None,
        room: str | None = None,
        clients: Names | None = None,
        history: History | None = None,
    ) -> None:
        self._publisher = publisher
        self._router = router
        self._room = room
        self._clients = clients
        self._history = None if history is None else (history.size, history.ttl)

    def _publish(
        self, message: Any, exclude: Names | None, key: str | None, idempotency_key: str | None, compress: bool | None
    ) -> _nexios.Publishing:
        where = self._router, self._room, self._clients, self._history
        return self._publisher.publish(*where, message, exclude, key, idempotency_key, compress)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} router={self._router!r} room={self._room!r} clients={self._clients!r}>"


class Audience(_Target):
    """Whom a :class:`Publisher` sends to."""

    def broadcast(
        self,
        message: Any,
        *,
        exclude: Names | None = None,
        key: str | None = None,
        idempotency_key: str | None = None,
        compress: bool | None = None,
        timeout: float | None = None,
    ) -> Published:
        """Sends a message, and returns when the broker has it: ``str`` as text, bytes as binary, else JSON.

        A room with history stores it, and of messages with one ``idempotency_key`` only the first within five
        minutes. If the broker is away, it waits until that is back, or for ``timeout`` seconds: then it raises a
        ``TimeoutError``, and the message may still be sent.
        """
        return Published(*self._publish(message, exclude, key, idempotency_key, compress).wait(timeout))


class AsyncAudience(_Target):
    """Whom an :class:`AsyncPublisher` sends to."""

    async def broadcast(
        self,
        message: Any,
        *,
        exclude: Names | None = None,
        key: str | None = None,
        idempotency_key: str | None = None,
        compress: bool | None = None,
        timeout: float | None = None,
    ) -> Published:
        """Sends a message, and returns when the broker has it: ``str`` as text, bytes as binary, else JSON.

        A room with history stores it, and of messages with one ``idempotency_key`` only the first within five
        minutes. If the broker is away, it waits until that is back, or for ``timeout`` seconds: then it raises a
        ``TimeoutError``, and the message may still be sent.
        """
        publishing = self._publish(message, exclude, key, idempotency_key, compress)
        return Published(*await asyncio.to_thread(publishing.wait, timeout))


class Publisher:
    """Sends to the clients of an app without being a node of it.

    >>> broker = MemoryBroker()  # or "redis://localhost", "nats://localhost", "unix:/run/hub.sock"
    >>> app = NexiosApp(broker=broker)
    >>> @app.ws("/ws")
    ... async def member(ws):
    ...     await ws.accept()
    ...     await ws.join("lobby")
    ...     await ws.send_text("welcome")
    ...     await ws.wait_closed()
    >>> with TestClient(app) as test, test.websocket_connect("/ws") as client, Publisher(broker) as publisher:
    ...     client.receive_text()
    ...     publisher.room("lobby").broadcast("The doors are open")
    ...     client.receive_text()
    'welcome'
    Published(stored=None, replicated=0, duplicate=False)
    'The doors are open'

    ``async with`` gives an :class:`AsyncPublisher`, whose ``broadcast`` is awaited. The constructor does not
    connect; ``with`` does, or the first use. ``BrokerError`` says that the broker cannot be reached, or has not taken
    a message; ``PublishUnconfirmed``, which is one, that the message may have been sent all the same. Signals are
    handled while it waits, and a process that was forked makes a connection of its own.
    """

    def __init__(self, broker: str | MemoryBroker | Broker) -> None:
        checked = as_broker(broker)
        if checked is None:
            raise TypeError("a publisher needs a broker")
        self._broker = checked
        self._connected: _nexios.Publisher | None = None

    def _connect(self) -> _nexios.Publisher:
        if self._connected is None:
            self._connected = _nexios.Publisher(self._broker)
        return self._connected

    @property
    def app(self) -> Audience:
        """Returns all clients of the app.

        >>> with Publisher(MemoryBroker()) as publisher:
        ...     publisher.app.broadcast("hello")
        Published(stored=None, replicated=0, duplicate=False)
        """
        return Audience(self._connect())

    def router(self, name: str) -> Audience:
        """The clients of a router and of those below it: by its name, else by its full prefix.

        >>> with Publisher(MemoryBroker()) as publisher:
        ...     publisher.router("/chat").broadcast("hello")
        Published(stored=None, replicated=0, duplicate=False)
        """
        return Audience(self._connect(), router=name)

    def room(self, name: str, *, history: History | None = None) -> Audience:
        """Returns the members of a room; with a ``History``, equal to that of the app's nodes, its messages are stored.

        >>> with Publisher(MemoryBroker()) as publisher:
        ...     publisher.room("lobby").broadcast("hello")
        Published(stored=None, replicated=0, duplicate=False)
        """
        return Audience(self._connect(), room=name, history=history)

    def clients(self, clients: Names) -> Audience:
        """These clients, named by connection id or client id.

        >>> with Publisher(MemoryBroker()) as publisher:
        ...     publisher.clients(["ann", "bob"]).broadcast("hello")
        Published(stored=None, replicated=0, duplicate=False)
        """
        return Audience(self._connect(), clients=clients)

    def close(self) -> None:
        """Sends what is left, and ends the connection.

        >>> publisher = Publisher(MemoryBroker())
        >>> publisher.room("lobby").broadcast("hello")
        Published(stored=None, replicated=0, duplicate=False)
        >>> publisher.close()
        """
        connected, self._connected = self._connected, None
        if connected is not None:
            connected.close()

    def __enter__(self) -> Self:
        self._connect()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    async def __aenter__(self) -> AsyncPublisher:
        return AsyncPublisher(await asyncio.to_thread(self._connect))

    async def __aexit__(self, *error: object) -> None:
        await asyncio.to_thread(self.close)


class AsyncPublisher:
    """The result of ``async with Publisher(…)``.

    >>> async with Publisher(MemoryBroker()) as publisher:
    ...     await publisher.room("lobby").broadcast({"doors": "open"})
    Published(stored=None, replicated=0, duplicate=False)
    """

    def __init__(self, connected: _nexios.Publisher) -> None:
        self._connected = connected

    @property
    def app(self) -> AsyncAudience:
        """Returns all clients of the app.

        >>> async with Publisher(MemoryBroker()) as publisher:
        ...     await publisher.app.broadcast("hello")
        Published(stored=None, replicated=0, duplicate=False)
        """
        return AsyncAudience(self._connected)

    def router(self, name: str) -> AsyncAudience:
        """The clients of a router and of those below it: by its name, else by its full prefix.

        >>> async with Publisher(MemoryBroker()) as publisher:
        ...     await publisher.router("/chat").broadcast("hello")
        Published(stored=None, replicated=0, duplicate=False)
        """
        return AsyncAudience(self._connected, router=name)

    def room(self, name: str, *, history: History | None = None) -> AsyncAudience:
        """Returns the members of a room; with a ``History``, equal to that of the app's nodes, its messages are stored.

        >>> async with Publisher(MemoryBroker()) as publisher:
        ...     await publisher.room("lobby").broadcast("hello")
        Published(stored=None, replicated=0, duplicate=False)
        """
        return AsyncAudience(self._connected, room=name, history=history)

    def clients(self, clients: Names) -> AsyncAudience:
        """These clients, named by connection id or client id.

        >>> async with Publisher(MemoryBroker()) as publisher:
        ...     await publisher.clients(["ann", "bob"]).broadcast("hello")
        Published(stored=None, replicated=0, duplicate=False)
        """
        return AsyncAudience(self._connected, clients=clients)
