"""Calls that wait for an answer of the server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from nexios.client.errors import NexiosError
from nexios.client.frames import Payload, frame_of
from nexios.client.values import check_header

__all__ = ["Answer", "Call", "Calls", "Limits"]

# A server answers `busy` to more, unless its `welcome` names another number.
_UNANSWERED_MAX = 256
_WAITING_MAX = 1000
_BYTES_MAX = 16 << 20
# The time for which a server knows the key of a message.
_KEY_SECONDS = 300.0

Answer = tuple[dict[str, Any], Payload]
Settle: TypeAlias = Callable[["Answer | NexiosError"], None]
# The member that makes a header long.
_LONG = {"request": "method", "publish": "room", "presence": "room", "join": "room", "leave": "room"}


@dataclass(frozen=True)
class Limits:
    """The limits that `welcome` names; ``None``: no limit is known."""

    message_bytes: int | None = None
    unanswered: int = _UNANSWERED_MAX
    rooms: int | None = None

    @classmethod
    def parse(cls, value: object) -> Limits:
        limits = value if isinstance(value, dict) else {}
        message_bytes, unanswered = (_count(limits.get(name)) for name in ("message_bytes", "unanswered"))
        rooms = limits.get("rooms")
        return cls(message_bytes, unanswered or _UNANSWERED_MAX, 0 if rooms == 0 else _count(rooms))

    def check(self, size: int) -> NexiosError | None:
        """Returns the error of a message of so many bytes, if it is over the limit."""
        if self.message_bytes is None or size <= self.message_bytes:
            return None
        over = size - self.message_bytes
        return NexiosError("too_big", f"{over} bytes over the server's limit of {self.message_bytes}")


@dataclass(eq=False)
class Call:
    """A call that waits for its answer."""

    id: int
    type: str
    members: Callable[[], dict[str, Any]]
    payload: Payload
    settle: Settle
    resend: bool = False
    key: str | None = None
    size: int = field(init=False)  # of the payload, in bytes
    sent: bool = False  # on this connection
    times_sent: int = 0
    timer: asyncio.TimerHandle | None = None

    def __post_init__(self) -> None:
        self.size = len(self.payload.encode() if isinstance(self.payload, str) else self.payload)

    def frame(self) -> Payload:
        return frame_of(self._head(), self.payload)

    def frame_bytes(self) -> int:
        return len(self._head().encode()) + 2 + self.size

    def _head(self) -> str:
        return check_header({"type": self.type, "id": self.id, **self.members()}, _LONG[self.type])


class Calls:
    """The calls of a client: numbered, sent in order, a limited number at a time, and repeated after a reconnect."""

    def __init__(self) -> None:
        self._calls: dict[int, Call] = {}
        self._unsent: dict[int, Call] = {}
        self._limits: Limits | None = None  # while the connection is open
        self._bytes = 0
        self._last_id = 0
        self._changed = asyncio.Event()
        self._resuming: set[int] = set()  # joins of a fresh connection that have to be sent first
        self._is_resumed = asyncio.Event()
        self._is_resumed.set()
        self._is_closed = False

    async def ask(
        self,
        type: str,
        members: dict[str, Any],
        payload: Payload = "",
        *,
        key: str | None = None,
        timeout: float | None = None,
    ) -> Answer:
        """Returns the server's answer. With a `key` the call is repeated after a reconnect, for five minutes."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        call = self.start(type, lambda: members, lambda answer: _give(future, answer), payload, key=key)
        try:
            return await asyncio.wait_for(future, timeout)
        except asyncio.TimeoutError:
            raise NexiosError("timeout", "no answer came in time", maybe_stored=call.times_sent > 0) from None
        finally:
            self.withdraw(call)

    def start(
        self,
        type: str,
        members: Callable[[], dict[str, Any]],
        settle: Settle,
        payload: Payload = "",
        *,
        key: str | None = None,
    ) -> Call:
        """Queues a call; `settle` is called with its answer or its error as soon as it arrives."""
        call = Call(self._last_id + 1, type, members, payload, settle, key is not None, key)
        self._check(call)
        self._last_id = call.id
        self._calls[call.id] = self._unsent[call.id] = call
        self._bytes += call.size
        if call.resend:
            loop = asyncio.get_running_loop()
            call.timer = loop.call_later(_KEY_SECONDS, self._fail, call, "expired", "five minutes are over")
        self._changed.set()
        return call

    def check(self, size: int) -> NexiosError | None:
        """Returns the error of a message of so many bytes on this connection, if it is over the limit."""
        return None if self._limits is None else self._limits.check(size)

    @property
    def rooms_max(self) -> int | None:
        """The most rooms that the server lets the client into, as far as is known."""
        return None if self._limits is None else self._limits.rooms

    def withdraw(self, call: Call) -> None:
        """Forgets a call: it is not sent any more, and its answer is ignored."""
        if self._calls.pop(call.id, None) is None:
            return
        self._unsent.pop(call.id, None)
        self._resumes(call)
        self._bytes -= call.size
        if call.timer is not None:
            call.timer.cancel()
        self._changed.set()

    def answer(self, header: dict[str, Any], payload: Payload) -> None:
        call = self._of(header)
        if call is not None:
            self.withdraw(call)
            call.settle((header, payload))

    def refuse(self, header: dict[str, Any]) -> None:
        call, code = self._of(header), str(header.get("code"))
        if call is not None:
            # The refusal covers the second attempt. The first may have been stored.
            is_repeated = call.resend and call.times_sent > 1
            maybe = is_repeated or (code == "unavailable" and header.get("maybe_stored") is True)
            self._fail(call, code, str(header.get("message")), maybe_stored=maybe)

    async def resumed(self) -> None:
        """Waits until the joins of a fresh connection are sent. Nothing else is sent before them."""
        await self._is_resumed.wait()

    async def next(self) -> Payload:
        """Returns the next frame to send, as soon as there is one."""
        while True:
            self._changed.clear()
            frame = self._sendable()
            if frame is not None:
                return frame
            await self._changed.wait()

    def limit(self, limits: Limits) -> None:
        """Sets the limits that the server has named for this connection."""
        self._limits = limits

    def opened(self) -> None:
        """Puts joins first, because a publish may need them. Calls over the server's limit fail."""
        for call in list(self._unsent.values()):
            if (error := self.check(call.frame_bytes())) is not None:
                self._fail(call, error.code, error.message)
        self._unsent = dict(sorted(self._unsent.items(), key=lambda item: (item[1].type != "join", item[0])))
        self._resuming = {id for id, call in self._unsent.items() if call.type == "join"}
        if self._resuming:
            self._is_resumed.clear()

    def disconnected(self, blame: str | None = None) -> None:
        """Fails the calls that were sent and are not repeated; with `blame` publishes, too."""
        self._limits = None
        self._resuming.clear()
        self._is_resumed.set()  # a waiting message finds its connection closed
        for call in list(self._calls.values()):
            if not call.sent:
                continue
            if not call.resend:
                self._fail(call, "disconnected", "the connection ended before the answer")
            elif blame is not None:
                self._fail(call, "rejected", blame)
            call.sent = False
        self._unsent = dict(sorted(self._calls.items()))

    def close(self) -> None:
        self._is_closed = True
        for call in list(self._calls.values()):
            self._fail(call, "closed", "the client is closed")

    def _check(self, call: Call) -> None:
        error = None
        # Joins have their limit in the number of rooms.
        is_limited = call.type not in ("join", "leave")
        if self._is_closed:
            error = NexiosError("closed", "the client is closed")
        elif is_limited and (len(self._calls) >= _WAITING_MAX or self._bytes > _BYTES_MAX):
            error = NexiosError("busy", "too much is waiting for answers")
        else:
            error = self.check(call.frame_bytes())
        if error is not None:
            error.key = call.key
            raise error

    def _sendable(self) -> Payload | None:
        limits = self._limits or Limits()
        while self._unsent and len(self._calls) - len(self._unsent) < limits.unanswered:
            call = self._unsent.pop(next(iter(self._unsent)))
            try:
                frame = call.frame()
            except ValueError as error:
                self._fail(call, "invalid", str(error))
                continue
            call.sent = True
            call.times_sent += 1
            self._resumes(call)
            return frame
        return None

    def _resumes(self, call: Call) -> None:
        self._resuming.discard(call.id)
        if not self._resuming:
            self._is_resumed.set()

    def _of(self, header: dict[str, Any]) -> Call | None:
        number = header.get("id")
        return self._calls.get(number) if isinstance(number, int) else None

    def _fail(self, call: Call, code: str, message: str, *, maybe_stored: bool | None = None) -> None:
        maybe = call.times_sent > 0 if maybe_stored is None else maybe_stored
        self.withdraw(call)
        call.settle(NexiosError(code, message, key=call.key, maybe_stored=maybe))


def _give(future: asyncio.Future[Answer], answer: Answer | NexiosError) -> None:
    if future.done():
        return
    if isinstance(answer, NexiosError):
        future.set_exception(answer)
    else:
        future.set_result(answer)


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
