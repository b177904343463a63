"""One connection, from the attempt to its end, by the package ``websockets``."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as dial
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidHeader, InvalidStatus, NegotiationError
from websockets.typing import Subprotocol

from nexios.client.addresses import SUBPROTOCOL
from nexios.client.ending import Ending
from nexios.client.errors import Malformed
from nexios.client.frames import Payload, parse
from nexios.client.retry import window_of
from nexios.client.shapes import is_known

__all__ = ["Dialogue", "Speaker"]

_MESSAGE_BYTES_MAX = 16 << 20
_IS_LATE = "the server did not answer in time"


class Speaker(Protocol):
    """The source of what a dialogue sends, and the receiver of its messages."""

    def asked(self) -> Awaitable[tuple[str, list[str]]]:
        """Returns the address and the subprotocols."""

    def hello(self) -> Payload: ...

    def receive(self, header: dict[str, Any] | None, payload: Payload) -> None: ...

    def next_frame(self) -> Awaitable[Payload]: ...


class Dialogue:
    """One connection: it dials, sends `hello`, and passes messages on. `end` may be called at any time."""

    def __init__(self, speaker: Speaker, open_timeout: float, options: dict[str, Any]) -> None:
        self._speaker = speaker
        self._open_timeout = open_timeout
        self._options = {"max_size": _MESSAGE_BYTES_MAX, **options}
        self._connection: ClientConnection | None = None
        self._ending: Ending | None = None
        self._task: asyncio.Task[Ending] | None = None
        self._announced: Ending | None = None
        self._is_welcome = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_over(self) -> bool:
        return self._ending is not None

    async def run(self) -> Ending:
        self._task = asyncio.create_task(self._run())
        try:
            await asyncio.wait([self._task])
        finally:
            self._task.cancel()  # if the waiting task is cancelled
            self._expect(None)
        ending = Ending(1006, "") if self._task.cancelled() else self._task.result()
        return self._ending or self._announced or ending

    def end(self, ending: Ending) -> None:
        if self._ending is None and self._task is not None:
            # The announced end counts, unless the application closes the client.
            self._ending = ending if ending.is_said or self._announced is None else self._announced
            self._task.cancel()

    async def send(self, message: Payload, ready: Callable[[], Awaitable[None]]) -> bool:
        """Sends a message when `ready` is done; returns false if the connection ends before that."""
        try:
            await ready()
            if self._connection is None or self._ending is not None:
                return False
            await self._connection.send(message)
        except ConnectionClosed:
            return False
        return True

    async def _run(self) -> Ending:
        try:
            url, protocols = await self._speaker.asked()
            connection = await self._dial(url, protocols)
        except InvalidStatus as error:
            return Ending.refused(error.response.status_code, error.response.headers)
        except (NegotiationError, InvalidHeader) as error:
            return Ending(1002, str(error), "protocol")
        except (OSError, asyncio.TimeoutError, InvalidHandshake) as error:
            # A proxy, or a server that does not speak HTTP, may recover.
            return Ending(1006, str(error) or _IS_LATE)
        try:
            return await self._talk(connection)
        finally:
            connection.transport.abort()
            await connection.wait_closed()

    async def _dial(self, url: str, protocols: list[str]) -> ClientConnection:
        offered = [Subprotocol(protocol) for protocol in protocols]
        self._expect(Ending(1006, _IS_LATE))
        return await dial(url, subprotocols=offered, open_timeout=None, **self._options)

    async def _talk(self, connection: ClientConnection) -> Ending:
        writer: asyncio.Task[None] | None = None
        try:
            if connection.subprotocol != SUBPROTOCOL:
                reason = f"the server does not speak {SUBPROTOCOL}"
                await connection.close(1002, reason)
                return Ending(1002, reason, "protocol")
            self._connection = connection
            await connection.send(self._speaker.hello())
            while not self._is_welcome:
                self._take(await connection.recv())
            self._expect(None)
            writer = asyncio.create_task(self._write(connection))
            while True:
                self._take(await connection.recv())
        except ConnectionClosed as error:
            return _ending_of(error)
        except Malformed as error:
            await connection.close(1002, str(error))
            return Ending(1002, str(error), "malformed")
        except asyncio.CancelledError:
            if self._ending is not None and self._ending.is_said:
                await connection.close(self._ending.code, self._ending.reason)
            raise
        finally:
            self._connection = None
            if writer is not None:
                writer.cancel()
                await asyncio.wait([writer])

    def _expect(self, otherwise: Ending | None) -> None:
        """Sets the end of the connection after the time for opening; `None` cancels it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        # Not by `asyncio.wait_for`, which before Python 3.12 may lose that its task is cancelled.
        if otherwise is not None:
            self._timer = asyncio.get_running_loop().call_later(self._open_timeout, self.end, otherwise)

    def _take(self, message: Payload) -> None:
        header, payload = parse(message)
        kind = "message" if header is None else header["type"]
        self._is_welcome |= kind == "welcome"
        if not self._is_welcome and is_known(kind) and kind != "closing":
            raise Malformed(f"a frame of the type {kind} comes before welcome")
        if header is not None and kind == "closing":
            self._announce(header)
        self._speaker.receive(header, payload)

    def _announce(self, header: dict[str, Any]) -> None:
        window, is_final = window_of(header.get("retry_ms")), header.get("retry_ms") is None
        self._announced = Ending(header["code"], header.get("reason") or "", "closing", window, is_final=is_final)
        self._expect(self._announced)  # the Close frame follows

    async def _write(self, connection: ClientConnection) -> None:
        try:
            while True:
                await connection.send(await self._speaker.next_frame())
        except ConnectionClosed:
            pass  # the reader returns the reason
        except Exception as error:
            self.end(Ending(1006, f"cannot send: {error}"))


def _ending_of(error: ConnectionClosed) -> Ending:
    if error.rcvd is not None and (error.sent is None or error.rcvd_then_sent):
        return Ending(error.rcvd.code, error.rcvd.reason, "close")
    if error.sent is None:
        return Ending(1006, "")
    # The package has closed: the peer broke the protocol, or a message is over `max_size`.
    cause = f"{error.sent.code} {error.sent.reason}".strip()
    if error.sent.code in (1002, 1007):
        return Ending(error.sent.code, cause, "malformed")
    return Ending(1006, f"the client had to close: {cause}")
