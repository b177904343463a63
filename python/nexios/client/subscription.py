"""Subscriptions: components that share a room."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

    from nexios.client.room import Room

__all__ = ["Subscription"]


class Subscription:
    """A subscription of a room, from :meth:`Client.subscribe`. Call it, or leave its ``with`` block, to stop it.

    Its handlers are removed then. The last subscription of a room leaves the room, unless ``room.join()`` was called.

    >>> async with client.subscribe("general", message=print) as subscription:
    ...     subscription.room.name
    'general'
    """

    def __init__(self, room: Room, handlers: dict[str, Callable[..., object]], join: bool) -> None:
        self._room = room
        self._handlers = handlers
        for event, handler in handlers.items():
            room._handlers.add(event, handler)
        if join:
            room._wish.subscribe(self)

    @property
    def room(self) -> Room:
        """The room.

        >>> client.subscribe("general").room is client.room("general")
        True
        """
        return self._room

    def __call__(self) -> None:
        for event, handler in self._handlers.items():
            self._room.off(event, handler)
        self._handlers = {}
        self._room._wish.unsubscribe(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        self()

    def __repr__(self) -> str:
        return f"<Subscription {self._room.name!r}>"
