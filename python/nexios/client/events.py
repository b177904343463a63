"""Events of a client and of its rooms, as handlers receive them."""

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

#: The kind of the end of a connection; ``refused`` is a handshake with another status than 101.
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
    """The connection is open, for the first time or again. ``id`` is its id at the server."""

    id: str


@dataclass(frozen=True)
class Closed:
    """A connection has ended, or an attempt has failed; with ``retry`` there is another attempt."""

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
    """There is no attempt until ``client.reconnect()``. Rooms, positions and waiting calls are kept."""

    code: int
    reason: str
    kind: CloseKind


@dataclass(frozen=True)
class Unauthorized:
    """The server refuses the token (401, 4401), and there is no other. :class:`Parked` follows."""

    code: int
    reason: str


@dataclass(frozen=True)
class Joined:
    """The connection is in a room.

    ``recovered``: what was missed follows. Otherwise there may be a hole: load the state of the room again.
    ``has_history``: the room has history.
    """

    recovered: bool
    has_history: bool


@dataclass(frozen=True)
class Left:
    """The room was left; ``code`` and ``message`` if the server refused to let the client in again."""

    code: str | None = None
    message: str | None = None


@dataclass(frozen=True)
class Message:
    """A message of a room: ``data`` is text or bytes, with ``json`` a value; ``offset`` in rooms with history."""

    data: Any
    offset: int | None = None


@dataclass(frozen=True)
class Gap:
    """Messages were lost, in a room without history or outside of rooms; ``missed`` if the number is known."""

    missed: int | None = None


@dataclass(frozen=True)
class Member:
    """A user in a room, with the data of their own."""

    user: str
    data: Any = None


@dataclass(frozen=True)
class PresenceChange:
    """A user joined (``join``, new data too) or left (``leave``); ``state`` has all ``users``, after a reconnect."""

    event: Literal["join", "leave", "state"]
    user: str | None = None
    data: Any = None
    users: list[Member] = field(default_factory=list)


@dataclass(frozen=True)
class Published:
    """A published message: its ``key``, and its ``position`` in rooms with history.

    ``duplicate``: a message with this key was stored before, perhaps by an attempt whose answer was lost;
    ``position`` is that of the first.
    """

    key: str
    position: str | None = None
    duplicate: bool = field(default=False, compare=False)


def kind_of(code: int) -> CloseKind:
    return _KINDS.get(code) or ("application" if code >= 3000 else "unknown")
