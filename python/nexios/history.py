"""Rooms with history: its size, what is stored, and what a connection missed."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

__all__ = ["History", "HistoryPage", "Joined", "StoredMessage"]


@dataclasses.dataclass(frozen=True)
class History:
    """The size of a room's history: its newest ``size`` messages (1,000,000 at most), each for ``ttl`` seconds (1 at
    least).

    >>> lobby = app.room("lobby", history=History(size=1000, ttl=3600))
    >>> (await lobby.broadcast("hello")).stored is not None
    True
    >>> [stored.message for stored in (await lobby.history()).messages]
    ['hello']
    """

    size: int = 1000
    ttl: float = 3600

    def __post_init__(self) -> None:
        if self.size < 1 or not 1 <= self.ttl < 2**53:
            raise ValueError("a history has a size of at least 1 and a ttl of at least 1 second")
        if self.size > 1_000_000:
            raise ValueError(f"history size {self.size} is out of range (1-1000000)")


class StoredMessage(NamedTuple):
    """A message in a room's history.

    >>> StoredMessage("hello", "1f-7-000102030405060708090a0b0c0d0e0f", 1735689600.0).message
    'hello'
    """

    #: The message.
    message: str | bytes
    #: The position of the message, for ``ws.join(room, since=)`` and ``room.history(since=)``.
    position: str
    #: When the broker stored it, in seconds since 1970 by the broker's clock.
    time: float


@dataclasses.dataclass(frozen=True)
class HistoryPage:
    """Messages of a room's history, oldest first: ``await room.history()``.

    >>> lobby = app.room("lobby", history=History(size=1000, ttl=3600))
    >>> outcomes = [await lobby.broadcast(text) for text in ("one", "two", "three")]
    >>> page = await lobby.history(limit=2, since=outcomes[0].stored)
    >>> [stored.message for stored in page.messages], page.recovered, page.position == outcomes[2].stored
    (['two', 'three'], True, True)
    """

    messages: list[StoredMessage]
    #: The position of the last message, for the next page; of the newest in the history if the page is empty.
    position: str
    #: True if the page continues from the given position without a hole. If false, it has the newest messages
    #: instead.
    recovered: bool


@dataclasses.dataclass(frozen=True)
class Joined:
    """The position of a connection that has joined a room: ``await ws.join(room, since=position)``. Joined is true.

    >>> room = app.room("lobby", history=History(size=1000, ttl=3600))
    >>> joined = await ws.join("lobby", since=None)
    >>> bool(joined), joined.recovered
    (True, False)
    """

    #: True if the connection is in the room. False if it was closed meanwhile.
    joined: bool
    #: True if all missed messages were sent. False if the broker does not have them, has started over, or is away.
    recovered: bool
    #: The position of the last message that was sent; new messages follow. All zeros if the broker is away or the
    #: room has no history.
    position: str

    def __bool__(self) -> bool:
        return self.joined
