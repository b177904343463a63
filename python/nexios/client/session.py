"""The state that outlives connections: rooms, positions, waiting calls, handlers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Coroutine, MutableMapping
from typing import Any

from nexios._escaped import escaped
from nexios.client.addresses import Addresses
from nexios.client.calls import Calls, Limits
from nexios.client.driver import Driver, State
from nexios.client.ending import Ending
from nexios.client.errors import NexiosError
from nexios.client.events import Gap, Joined, Opened, PresenceChange
from nexios.client.frames import LONG_HEADER_BYTES_MAX, ROOMS_MAX, Payload, frame, header_text
from nexios.client.inbox import Handlers, Inbox, Item, logger
from nexios.client.positions import Positions
from nexios.client.retry import window_of
from nexios.client.room import Room
from nexios.client.values import Bigint, check_room, encode

__all__ = ["Session"]

# Reported even if too many events wait for a handler that does not return.
_ALWAYS = ("close", "parked", "unauthorized")


class Session:
    """The state of a client. The driver passes it the frames of the server, and takes frames to send from it."""

    def __init__(
        self,
        addresses: Addresses,
        *,
        is_json: bool,
        bigint: Bigint,
        storage: MutableMapping[str, str] | None,
        open_timeout: float,
        request_timeout: float,
        stable_after: float,
        retry_first: bool,
        user_agent: str | None,
        options: dict[str, Any],
    ) -> None:
        self._is_json = is_json
        self._bigint: Bigint = bigint
        self.request_timeout = request_timeout
        self._user_agent = user_agent
        self.addresses = addresses
        self.id: str | None = None
        self.driver = Driver(self, addresses, open_timeout, stable_after, retry_first, options)
        self.handlers = Handlers(self.failed)
        self.inbox = Inbox(self.failed)
        self.rooms: dict[str, Room] = {}
        self.positions = Positions(storage)
        self.calls = Calls()
        self._limits = Limits()  # of the last welcome
        self.closer: asyncio.Task[Any] | None = None
        self.is_caught_up = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def state(self) -> State:
        return self.driver.state

    # --- for the driver

    def asked(self) -> Awaitable[tuple[str, list[str]]]:
        return self.addresses.ask()

    def hello(self) -> Payload:
        """Returns the first frame: the positions of the rooms, as far as the client has received."""
        received = ((room.name, room._at) for room in self.rooms.values() if room._at is not None)
        header = {"type": "hello", "user_agent": self._user_agent}
        # The mark, the line feed, and the member without its rooms.
        rest = len(header_text(header).encode()) + len('\x1e,"rooms":{}\n')
        bytes_max = min(LONG_HEADER_BYTES_MAX, self._limits.message_bytes or LONG_HEADER_BYTES_MAX)
        rooms_max = ROOMS_MAX if self._limits.rooms is None else min(ROOMS_MAX, self._limits.rooms)
        rooms = self.positions.for_hello(received, rest, bytes_max, rooms_max)
        return frame(header | {"rooms": rooms})

    def next_frame(self) -> Awaitable[Payload]:
        return self.calls.next()

    def disconnected(self, ending: Ending) -> None:
        reason = f"the server closed the connection with {ending.code} {ending.reason}".rstrip()
        self.calls.disconnected(reason if ending.is_blaming else None)
        for room in self.rooms.values():
            room._disconnected()

    async def caught_up(self) -> None:
        # Rooms that are behind catch up first, or further messages would not fit.
        while self.driver.closed is None and any(room._is_behind for room in self.rooms.values()):
            self.is_caught_up.clear()
            await self.is_caught_up.wait()

    async def ended(self) -> None:
        self.calls.close()
        for task in list(self._tasks):
            task.cancel()
        for room in self.rooms.values():
            room._wish.closed()
            room._disconnected()
        for inbox in self.inboxes():
            await inbox.stop(self.closer)
        self.tell("close", self.driver.closed)
        await self.inbox.finished(self.closer)

    def is_heard(self, event: str) -> bool:
        return self.handlers.has(event)

    def tell(self, event: str, *values: object) -> None:
        # Bounds the queue of a handler that does not return.
        if not self.inbox.is_full or event in _ALWAYS:
            self.inbox.push(Item(event, lambda: self.handlers.call(event, *values)))

    def failed(self, error: Exception) -> None:
        if self.handlers.has("error"):
            self.tell("error", error)
        else:
            logger.error("%s", escaped(str(error)), exc_info=error)

    # --- receiving

    def receive(self, header: dict[str, Any] | None, payload: Payload) -> None:
        if header is None:
            self._take_message(payload)
            return
        kind, room = header.get("type"), header.get("room")
        if room is not None and kind in ("joined", "left", "message", "reset", "gap", "presence"):
            self._receive_of_room(str(kind), room, header, payload)
            return
        match kind:
            case "welcome":
                self._open(header)
            case "ack" | "reply":
                self.calls.answer(header, payload)
            case "error":
                self.calls.refuse(header)
            case "gap":
                self._miss(_number(header.get("missed")))

    def _receive_of_room(self, kind: str, name: str, header: dict[str, Any], payload: Payload) -> None:
        if kind == "joined":
            self._enter(name, header)
            return
        room = self.rooms.get(name)
        if room is None:
            return
        match kind:
            case "left":
                room._taken_out()
            case "message":
                room._receive(header, payload)
            case "reset":
                room._reset(header.get("position"))
            case "gap":
                room._miss(_number(header.get("missed")), _number(header.get("offset")))
            case "presence":
                if header.get("event") in ("join", "leave"):
                    room._change(PresenceChange(header["event"], str(header.get("user")), header.get("data")))

    def _open(self, header: dict[str, Any]) -> None:
        if self.state == "open":
            return
        self.id = str(header.get("id"))
        self.driver.opened(window_of(header.get("retry_ms")))
        self._limits = Limits.parse(header.get("limits"))
        self.calls.limit(self._limits)
        for room in self.rooms.values():
            room._wish.opened()
        self.calls.opened()
        self.tell("open", Opened(self.id))

    def _enter(self, name: str, header: dict[str, Any]) -> None:
        try:
            room = self.rooms.get(name) or self.add_room(check_room(name))
        except ValueError as error:
            self.failed(error)  # no frame of the client could name it
            return
        if room is None:
            self.failed(ValueError(f"over {ROOMS_MAX} rooms: no place for {name}"))
            return
        joined = Joined(header.get("recovered") is True, "position" in header)
        entered = room
        room._enter(header.get("position"), joined, lambda: self.handlers.call("joined", entered, joined))

    def _take_message(self, payload: Payload) -> None:
        if self.inbox.is_full:
            self.inbox.miss(1, self._gap)
            return

        async def handle() -> bool:
            return await self.handlers.call("message", self.decode(payload))

        self.inbox.push(Item("message", handle, len(payload)))

    def _miss(self, missed: int | None) -> None:
        if self.inbox.is_full:
            self.inbox.miss(missed, self._gap)
        else:
            self.inbox.push(Item("gap", lambda: self._gap(missed), missed=missed))
        for room in self.rooms.values():
            if room._at is None:
                room._miss(missed)

    async def _gap(self, missed: int | None) -> bool:
        return await self.handlers.call("gap", Gap(missed))

    # --- for rooms and calls

    def position_of(self, room: Room) -> str | None:
        return self.positions.get(room.name) if room._at is None else str(room._at)

    def over_rooms(self) -> NexiosError | None:
        """Returns the error of a join where the server lets the client into no more rooms."""
        most = self.calls.rooms_max
        if most is None or len(self.rooms) <= most:
            return None
        if sum(room._wish.is_counted for room in self.rooms.values()) < most:
            return None
        return NexiosError("forbidden", f"the server lets a client into {most} rooms at most")

    def chance(self) -> float:
        return self.driver.backoff.chance()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def encode(self, data: Any) -> Payload:
        return encode(data, self._is_json, self._bigint)

    def decode(self, payload: Payload) -> Any:
        return json.loads(payload) if self._is_json and isinstance(payload, str) and payload else payload

    def inboxes(self) -> list[Inbox]:
        return [room._inbox for room in self.rooms.values()] + [self.inbox]

    def add_room(self, name: str) -> Room | None:
        if len(self.rooms) >= ROOMS_MAX:
            self.rooms = {name: room for name, room in self.rooms.items() if not room._is_idle()}
        if len(self.rooms) >= ROOMS_MAX:
            return None
        room = self.rooms[name] = Room(self, name)
        return room


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
