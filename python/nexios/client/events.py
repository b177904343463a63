"""What a client tells its handlers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

__all__ = [
    "CloseKind",
    "Closed",
    "Gap",
    "Joined",
    "Left",
    "Member",
    "Message",
    "Opened",
    "Parked",
    "PresenceChange",
    "Published",
    "Reconnecting",
    "Unauthorized",
]

#: Why a connection ended, in words; ``refused`` is a handshake with another status than 101.
CloseKind: TypeAlias = Literal[
    "normal",
    "going-away",
    "protocol",
    "invalid-data",
    "lost",
    "policy",
    "too-big",
    "server-error",
    "restart",
    "try-again-later",
    "bad-gateway",
    "refused",
    "application",
    "unknown",
]

_KINDS: dict[int, CloseKind] = {
    1000: "normal",
    1001: "going-away",
    1002: "protocol",
    1003: "invalid-data",
    1005: "lost",
    1006: "lost",
    1007: "invalid-data",
    1008: "policy",
    1009: "too-big",
    1011: "server-error",
    1012: "restart",
    1013: "try-again-later",
    1014: "bad-gateway",
}


@dataclass(frozen=True)
class Opened:
    """The connection is there: at first, and each time it has come back. ``id`` is the server's."""

    id: str


@dataclass(frozen=True)
class Closed:
    """The connection has ended, or did not come about; with ``retry`` there is another attempt."""

    code: int
    reason: str
    retry: bool
    kind: CloseKind


@dataclass(frozen=True)
class Reconnecting:
    """The next attempt comes in ``delay`` seconds."""

    attempt: int
    delay: float


@dataclass(frozen=True)
class Parked:
    """The server does not want the client back. ``client.reconnect()`` makes another attempt; until then there is none.

    Rooms, positions and calls that wait are kept.
    """

    code: int
    reason: str
    kind: CloseKind


@dataclass(frozen=True)
class Unauthorized:
    """The server does not take the token (401, 4401), and a function that was asked once more had no better one."""

    code: int
    reason: str


@dataclass(frozen=True)
class Joined:
    """The connection is in a room.

    ``recovered``: what was missed follows. Otherwise there may be a hole: load anew what has to be whole.
    ``remembers``: whether the room does.
    """

    recovered: bool
    remembers: bool


@dataclass(frozen=True)
class Left:
    """The room was left; ``code`` and ``message`` where the server refused to let the client in again."""

    code: str | None = None
    message: str | None = None


@dataclass(frozen=True)
class Message:
    """A message of a room: ``data`` is text or bytes, with ``json`` a value; ``offset`` in rooms that remember."""

    data: Any
    offset: int | None = None


@dataclass(frozen=True)
class Gap:
    """Messages are lost, in what does not remember; ``missed`` where it is known how many."""

    missed: int | None = None


@dataclass(frozen=True)
class Member:
    """Who is in a room, with the data of their own."""

    user: str
    data: Any = None


@dataclass(frozen=True)
class PresenceChange:
    """Who came (``join``) and went (``leave``); ``state`` has all ``users``, after a reconnect."""

    event: Literal["join", "leave", "state"]
    user: str | None = None
    data: Any = None
    users: list[Member] = field(default_factory=list)


@dataclass(frozen=True)
class Published:
    """What became of a message: ``position`` in rooms that remember.

    ``duplicate``: a message with this key was stored before, perhaps by an attempt whose answer was lost;
    ``position`` is that of the first.
    """

    key: str
    position: str | None = None
    duplicate: bool = field(default=False, compare=False)


def kind_of(code: int) -> CloseKind:
    return _KINDS.get(code) or ("application" if code >= 3000 else "unknown")
