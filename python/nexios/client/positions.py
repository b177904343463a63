"""Positions of a client in its rooms, behind the last message that it has handled."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, MutableMapping

from nexios.client.errors import Malformed
from nexios.client.frames import LONG_HEADER_BYTES_MAX, ROOMS_MAX, Position, encode_json
from nexios.client.values import check_text

__all__ = ["Positions"]


class Positions:
    """A limited number of positions, those that moved last at the end; in a mapping of the application's, too."""

    def __init__(self, storage: MutableMapping[str, str] | None) -> None:
        self._storage: MutableMapping[str, str] = {} if storage is None else storage
        self._positions: dict[str, str] = {}
        for room, position in list(self._storage.items())[-ROOMS_MAX:]:
            # Invalid positions and names count as missing.
            with contextlib.suppress(Malformed, TypeError, ValueError):
                self._positions[check_text("room", room)] = str(Position.parse(position))

    def get(self, room: str) -> str | None:
        return self._positions.get(room)

    def keep(self, room: str, position: Position | None) -> None:
        """Stores the position of a room, or removes it."""
        self._forget(room)
        if position is not None:
            self._positions[room] = self._storage[room] = str(position)
        if len(self._positions) > ROOMS_MAX:
            self._forget(next(iter(self._positions)))

    def for_hello(
        self,
        received: Iterable[tuple[str, Position]],
        rest: int,
        bytes_max: int = LONG_HEADER_BYTES_MAX,
        rooms_max: int = ROOMS_MAX,
    ) -> dict[str, str]:
        """Returns the positions that moved last, as many as fit; ``received`` ones replace those that were handled."""
        positions = self._positions | {room: str(position) for room, position in received}
        rooms: dict[str, str] = {}
        left = bytes_max - rest
        for room, position in list(reversed(positions.items()))[:rooms_max]:
            left -= len(encode_json({room: position}).encode())
            if left < 0:
                break
            rooms[room] = position
        return rooms

    def _forget(self, room: str) -> None:
        self._positions.pop(room, None)
        self._storage.pop(room, None)
