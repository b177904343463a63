"""Presence: who is in a room, over all nodes, and who comes and goes."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Literal

from nexios._json import decode
from nexios._log import logger

__all__ = ["PresenceEvent", "Present"]

# Events that wait for slow listeners at most.
EVENTS_MAX = 65_536


@dataclasses.dataclass(frozen=True)
class Present:
    """A user who is in a room, with all connections on all nodes: ``await room.presence()`` has them.

    >>> await ws.join("general")
    True
    >>> ws.client_id = "ann"
    >>> await app.room("general").track(ws, {"status": "busy"})
    >>> await app.room("general").presence()
    [Present(user='ann', data={'status': 'busy'}, connections=1)]
    """

    #: The client id, or the connection's id where there is none.
    user: str
    #: The data of the newest of the connections.
    data: Any
    #: The number of connections.
    connections: int


@dataclasses.dataclass(frozen=True)
class PresenceEvent:
    """A user has come into a room (``join``) or left it (``leave``).

    >>> @app.on("leave")
    ... async def gone(event: PresenceEvent) -> None:
    ...     if event.here:
    ...         await app.room(event.room).broadcast({"gone": event.user})
    >>> PresenceEvent(room="lobby", user="ann", data=None, here=True)
    PresenceEvent(room='lobby', user='ann', data=None, here=True, kind='join')

    One function may listen to both:

    >>> @app.on("join")
    ... @app.on("leave")
    ... async def changed(event: PresenceEvent) -> None:
    ...     print(event.kind, event.user)
    """

    #: The room's name.
    room: str
    #: The client id, or the connection's id where there is none.
    user: str
    #: The data of the user; at a leave the last.
    data: Any
    #: True if the client is on this node.
    here: bool
    #: Which of the two.
    kind: Literal["join", "leave"] = dataclasses.field(default="join", compare=False)


def present(user: str, data: str, connections: int) -> Present:
    """Makes one of what the engine lists."""
    return Present(user, decode(data), connections)


class Announcer:
    """Calls a router's presence listeners, one event after another, in a task; their errors are logged."""

    def __init__(self, listeners: Mapping[str, Sequence[Callable[[PresenceEvent], Coroutine[Any, Any, Any]]]]) -> None:
        self._listeners = listeners
        self._waiting: deque[tuple[str, PresenceEvent]] = deque()
        self._task: asyncio.Task[None] | None = None
        # The server's: the caller may be a handler, whose variables are not those of the listeners.
        self._context = contextvars.copy_context()

    def announce(self, kind: Literal["join", "leave"], room: str, user: str, data: str, here: bool) -> None:
        """Queues an event; where listeners are too slow the oldest is left out."""
        if len(self._waiting) >= EVENTS_MAX:
            logger.warning("presence listeners are too slow: an event was left out")
            self._waiting.popleft()
        self._waiting.append((kind, PresenceEvent(room, user, decode(data), here, kind)))
        if self._task is None:
            self._task = self._context.copy().run(asyncio.get_running_loop().create_task, self._run())

    async def _run(self) -> None:
        try:
            while self._waiting:
                kind, event = self._waiting.popleft()
                for listener in self._listeners[kind]:
                    try:
                        await listener(event)
                    except Exception:
                        logger.exception("a %s listener failed", kind)
        finally:
            self._task = None
