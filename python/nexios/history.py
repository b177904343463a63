"""Rooms that remember: how much, and what they say to those who come back."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

__all__ = ["History", "HistoryPage", "Joined", "StoredMessage"]


@dataclasses.dataclass(frozen=True)
class History:
    """How much a room remembers: its newest ``size`` messages (1,000,000 at most), each for ``ttl`` seconds (1 at
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
    """A message that a room remembers.

    >>> StoredMessage("hello", "1f-7-000102030405060708090a0b0c0d0e0f", 1735689600.0).message
    'hello'
    """

    #: The message.
    message: str | bytes
    #: Behind it; for ``ws.join(room, since=)`` and ``room.history(since=)``.
    position: str
    #: When the broker stored it, in seconds since 1970 by the broker's clock.
    time: float


@dataclasses.dataclass(frozen=True)
class HistoryPage:
    """Messages that a room remembers, oldest first: ``await room.history()``.

    >>> lobby = app.room("lobby", history=History(size=1000, ttl=3600))
    >>> outcomes = [await lobby.broadcast(text) for text in ("one", "two", "three")]
    >>> page = await lobby.history(limit=2, since=outcomes[0].stored)
    >>> [stored.message for stored in page.messages], page.recovered, page.position == outcomes[2].stored
    (['two', 'three'], True, True)
    """

    messages: list[StoredMessage]
    #: Behind the last of them, for the next page; where there is none, behind the newest that there was.
    position: str
    #: Whether nothing is missing between the position asked for and the first message. Where it is ``False``,
    #: these are the newest messages instead.
    recovered: bool


@dataclasses.dataclass(frozen=True)
class Joined:
    """Where a connection was when it joined a room: ``await ws.join(room, since=position)``. Joined is true.

    >>> room = app.room("lobby", history=History(size=1000, ttl=3600))
    >>> joined = await ws.join("lobby", since=None)
    >>> bool(joined), joined.recovered
    (True, False)
    """

    #: Whether it is in the room: only a connected one can be.
    joined: bool
    #: Whether all that was missed was sent. ``False`` where the broker does not have it, has begun anew, or is away.
    recovered: bool
    #: Behind the last message that was sent; live messages follow. It says nothing (all zeros) where the broker is
    #: away, and of a room that does not remember.
    position: str

    def __bool__(self) -> bool:
        return self.joined
