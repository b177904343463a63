"""What waits for an answer of the server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nexios.client.errors import NexiosError
from nexios.client.frames import HEADER_BYTES_MAX, Payload, frame, header_text

__all__ = ["Answer", "Call", "Calls"]

# The server answers `busy` beyond.
_UNANSWERED_MAX = 256
_WAITING_MAX = 1000
_BYTES_MAX = 16 << 20
# So long does the server know the key of a message.
_KEY_SECONDS = 300.0

Answer = tuple[dict[str, Any], Payload]
Members = Callable[[], dict[str, Any]]


@dataclass(eq=False)
class Call:
    """Something that was asked."""

    id: int
    type: str
    members: Members
    payload: Payload
    resend: bool
    future: asyncio.Future[Answer]
    sent: bool = False
    first_sent: float | None = None

    def frame(self) -> Payload:
        return frame(self.header(), self.payload)

    def header(self) -> dict[str, Any]:
        return {"type": self.type, "id": self.id, **self.members()}


class Calls:
    """Numbers what is asked, sends it in order, a limited number at a time, and once more after a reconnect."""

    def __init__(self) -> None:
        self._calls: dict[int, Call] = {}
        self._unanswered = 0
        self._bytes = 0
        self._last_id = 0
        self._changed = asyncio.Event()
        self._is_closed = False

    async def ask(self, type: str, members: Members, payload: Payload = "", *, resend: bool = False) -> Answer:
        return await self.result(self.start(type, members, payload, resend=resend))

    def start(self, type: str, members: Members, payload: Payload = "", *, resend: bool = False) -> Call:
        self._last_id += 1
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        call = Call(self._last_id, type, members, payload, resend, future)
        if len(header_text(call.header()).encode()) > HEADER_BYTES_MAX:
            raise ValueError(f"a header has at most {HEADER_BYTES_MAX} bytes")
        if self._is_closed:
            raise NexiosError("closed", "the client is closed")
        # Joins have their limit in the number of rooms.
        if type != "join" and (len(self._calls) >= _WAITING_MAX or self._bytes > _BYTES_MAX):
            raise NexiosError("busy", "too much is waiting for answers")
        self._calls[call.id] = call
        self._bytes += len(payload)
        self._changed.set()
        return call

    async def result(self, call: Call) -> Answer:
        try:
            return await call.future
        finally:
            self._take(call)

    def answer(self, header: dict[str, Any], payload: Payload) -> None:
        call = self._of(header)
        if call is not None:
            call.future.set_result((header, payload))
            self._take(call)

    def refuse(self, header: dict[str, Any]) -> None:
        call = self._of(header)
        if call is not None:
            self._fail(call, str(header.get("code")), str(header.get("message")))

    async def next(self) -> Payload:
        """What is to be sent next, as soon as it may be."""
        while True:
            self._changed.clear()
            call = self._sendable()
            if call is not None:
                call.sent = True
                self._unanswered += 1
                return call.frame()
            await self._changed.wait()

    def joins_first(self) -> None:
        """After a reconnect: who may publish in a room may have to be in it."""
        self._calls = dict(sorted(self._calls.items(), key=lambda item: item[1].type != "join"))

    def is_joining(self, room: str) -> bool:
        return any(call.type == "join" and call.members()["room"] == room for call in self._calls.values())

    def withdraw(self, room: str) -> None:
        """Takes a room's join back."""
        for call in list(self._calls.values()):
            if call.type == "join" and call.members()["room"] == room:
                self._fail(call, "closed", "the room was left")

    def disconnected(self) -> None:
        """Ends what was sent and is not repeated."""
        for call in list(self._calls.values()):
            if call.sent and not call.resend:
                self._fail(call, "disconnected", "the connection ended before the answer")
            call.sent = False
        self._unanswered = 0

    def close(self) -> None:
        self._is_closed = True
        for call in list(self._calls.values()):
            self._fail(call, "closed", "the client is closed")

    def _sendable(self) -> Call | None:
        if self._unanswered >= _UNANSWERED_MAX:
            return None
        now = asyncio.get_running_loop().time()
        for call in list(self._calls.values()):
            if call.sent:
                continue
            call.first_sent = now if call.first_sent is None else call.first_sent
            if call.type != "publish" or now - call.first_sent <= _KEY_SECONDS:
                return call
            self._fail(call, "expired", "whether the message was stored is not known: a retry might store it twice")
        return None

    def _of(self, header: dict[str, Any]) -> Call | None:
        number = header.get("id")
        call = self._calls.get(number) if isinstance(number, int) else None
        return call if call is not None and not call.future.done() else None

    def _fail(self, call: Call, code: str, message: str) -> None:
        if not call.future.done():
            call.future.set_exception(NexiosError(code, message))
        self._take(call)

    def _take(self, call: Call) -> None:
        if self._calls.pop(call.id, None) is None:
            return
        self._bytes -= len(call.payload)
        if call.sent:
            self._unanswered -= 1
        self._changed.set()
