"""``ws.state``: the application's own values, comparable with the state of the connection."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nexios._nexios import WebSocket

__all__ = ["State", "WebSocketState"]


class WebSocketState(enum.Enum):
    """The state of a connection.

    >>> ws.connection_state
    <WebSocketState.CONNECTED: 'connected'>
    """

    CONNECTING = "connecting"
    CONNECTED = "connected"
    CLOSING = "closing"
    DISCONNECTED = "disconnected"


class State(MutableMapping[str, Any]):
    """A connection's own values: items and attributes are the same.

    It equals the ``WebSocketState`` that the connection is in, so that
    ``ws.state == WebSocketState.CONNECTED`` holds while messages flow.

    >>> ws.state["user_id"] = 42
    >>> ws.state.user_id, ws.state.get("room"), "user_id" in ws.state
    (42, None, True)
    >>> ws.state == WebSocketState.CONNECTED
    True
    """

    __slots__ = ("_values", "_ws")
    __hash__ = None  # type: ignore[assignment]

    _ws: WebSocket
    _values: dict[str, Any]

    def __init__(self, ws: WebSocket, values: dict[str, Any]) -> None:
        object.__setattr__(self, "_ws", ws)
        object.__setattr__(self, "_values", values)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._values[name] = value

    def __delitem__(self, name: str) -> None:
        del self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __getattr__(self, name: str) -> Any:
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(f"this connection's state has no {name!r}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self._values[name] = value

    def __delattr__(self, name: str) -> None:
        try:
            del self._values[name]
        except KeyError:
            raise AttributeError(f"this connection's state has no {name!r}") from None

    def __eq__(self, other: object) -> bool:
        if isinstance(other, WebSocketState):
            return self._ws.connection_state is other
        if isinstance(other, State):
            return self._values == other._values
        if isinstance(other, Mapping):
            return self._values == other
        return NotImplemented

    def __repr__(self) -> str:
        return f"<State {self._ws.connection_state.name} {self._values!r}>"
