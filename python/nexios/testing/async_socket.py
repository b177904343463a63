"""A WebSocket of a test that is a coroutine."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from nexios import _json
from nexios.exceptions import WebSocketDisconnect, WebSocketTypeError
from nexios.request import Headers, iterate
from nexios.testing.exceptions import TestTimeout

if TYPE_CHECKING:
    from typing_extensions import Self

    from nexios import _nexios
    from nexios.testing.async_client import AsyncTestClient
    from nexios.testing.running import RunningApp

    Bytes = bytes | bytearray | memoryview

__all__ = ["AsyncTestSocket"]

T = TypeVar("T")
_UNSET: Any = object()
#: Seconds that a handler gets to end before the test goes on after its WebSocket.
LEAVE = 0.1


class AsyncTestSocket:
    """A client's end of a WebSocket. It reads by itself and answers pings, as browsers do.

    What it can do is what ``TestSocket`` can; here it is awaited.

    >>> import asyncio
    >>> from nexios import NexiosApp
    >>> from nexios.testing import AsyncTestClient
    >>> app = NexiosApp()
    >>> @app.ws("/count")
    ... async def count(ws):
    ...     await ws.accept()
    ...     for number in range(3):
    ...         await ws.send_json(number)
    >>> async def test_count():
    ...     async with AsyncTestClient(app) as client:
    ...         async with client.websocket_connect("/count") as ws:
    ...             assert [number async for number in ws.iter_json()] == [0, 1, 2]
    ...             assert ws.close_code == 1000
    >>> asyncio.run(test_count())
    """

    __test__ = False

    def __init__(
        self,
        client: AsyncTestClient,
        running: RunningApp,
        connection: _nexios.TestConnection,
        target: str,
        timeout: float | None,
    ) -> None:
        self._client = client
        self._running = running
        self._connection = connection
        self._target = target
        self.timeout = timeout

    # --- what is known of it

    @property
    def id(self) -> str:
        """The server's id of this connection: ``ws.id`` there."""
        assert self._connection.id is not None, "the server has answered, and so it has a name for it"
        return self._connection.id

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that the server picked."""
        return self._connection.subprotocol

    @property
    def response_headers(self) -> Headers:
        """The header fields of the server's 101."""
        return Headers(self._connection.response_headers)

    @property
    def is_compressed(self) -> bool:
        """True if compression was agreed on."""
        return self._connection.is_compressed

    @property
    def close_code(self) -> int | None:
        """The code of whoever closed first: 1005 without a code, 1006 without a Close frame; `None` while open."""
        return self._connection.close_code

    @property
    def close_reason(self) -> str | None:
        """The reason of whoever closed first; `None` while open."""
        return self._connection.close_reason

    # --- sending

    async def send(self, message: Any) -> None:
        """``str`` as text, bytes as binary, anything else as JSON."""
        if isinstance(message, str):
            await self.send_text(message)
        elif isinstance(message, (bytes, bytearray, memoryview)):
            await self.send_bytes(message)
        else:
            await self.send_json(message)

    async def send_text(self, text: str) -> None:
        """Sends a text message."""
        await self._send(self._connection.send_text, text)

    async def send_bytes(self, data: Bytes) -> None:
        """Sends a binary message."""
        await self._send(self._connection.send_bytes, data)

    async def send_json(self, value: Any) -> None:
        """Sends a value as JSON text."""
        await self._send(self._connection.send_text, _json.encode(value))

    async def send_fragments(self, parts: Sequence[str]) -> None:
        """Sends one text message in several frames."""
        await self._send(self._connection.send_fragments, list(parts))

    async def send_ping(self, payload: Bytes = b"") -> None:
        """Sends a ping; over 125 bytes raises ``ValueError``."""
        await self._send(self._connection.send_ping, payload)

    async def send_pong(self, payload: Bytes = b"") -> None:
        """Sends a pong that nobody has asked for."""
        await self._send(self._connection.send_pong, payload)

    async def send_raw(self, data: Bytes) -> None:
        """Sends bytes as they are, whatever they mean."""
        await self._send(self._connection.write, data)

    async def _send(self, send: Callable[[T], object], what: T) -> None:
        if self._connection.close_code is not None:
            self._raise_end()
        send(what)
        await self._running.settle()

    # --- receiving

    async def receive(self, *, timeout: float | None = _UNSET) -> str | bytes:
        """The next message."""
        return await self._message("a message", timeout)

    async def receive_text(self, *, timeout: float | None = _UNSET) -> str:
        """The next message, which has to be text."""
        message = await self._message("a text message", timeout)
        if not isinstance(message, str):
            raise WebSocketTypeError(message, "expected a text message, got a binary one")
        return message

    async def receive_bytes(self, *, timeout: float | None = _UNSET) -> bytes:
        """The next message, which has to be binary."""
        message = await self._message("a binary message", timeout)
        if not isinstance(message, bytes):
            raise WebSocketTypeError(message, "expected a binary message, got a text one")
        return message

    async def receive_json(self, *, timeout: float | None = _UNSET) -> Any:
        """The next message, read as JSON."""
        return json.loads(await self._message("a message with JSON", timeout))

    async def receive_ping(self, *, timeout: float | None = _UNSET) -> bytes:
        """The payload of the oldest ping that nobody has looked at; it has been answered."""
        payload: bytes = await self._wait(self._connection.receive_ping, "a ping", timeout)
        return payload

    async def receive_pong(self, *, timeout: float | None = _UNSET) -> bytes:
        """The payload of the oldest pong that nobody has looked at."""
        payload: bytes = await self._wait(self._connection.receive_pong, "a pong", timeout)
        return payload

    def __aiter__(self) -> AsyncIterator[str | bytes]:
        return iterate(self.receive)

    def iter_text(self) -> AsyncIterator[str]:
        """Text messages until the connection is over."""
        return iterate(self.receive_text)

    def iter_bytes(self) -> AsyncIterator[bytes]:
        """Binary messages until the connection is over."""
        return iterate(self.receive_bytes)

    def iter_json(self) -> AsyncIterator[Any]:
        """Messages, read as JSON, until the connection is over."""
        return iterate(self.receive_json)

    async def _message(self, what: str, timeout: float | None) -> str | bytes:
        message: str | bytes = await self._wait(self._connection.receive, what, timeout)
        return message

    async def _wait(self, receive: Callable[[float | None], Awaitable[Any]], what: str, timeout: float | None) -> Any:
        timeout = self.timeout if timeout is _UNSET else timeout
        try:
            value = await receive(timeout)
        except TimeoutError:
            raise TestTimeout(f"{what} on {self._target}", timeout or 0) from None
        if value is None:
            self._raise_end()
        return value

    def _raise_end(self) -> None:
        """The handler's own exception says more than the code 1011."""
        self._client._raise(self._running.faults.take(self.id))
        raise WebSocketDisconnect(self.close_code or 1006, self.close_reason or "")

    # --- closing, and what goes wrong

    async def close(self, code: int | None = 1000, reason: str = "") -> None:
        """Closes, and waits for the server's Close frame; `None` sends one without a code."""
        self._connection.close(code, reason)
        if not self._connection.is_deaf:
            await self.wait_closed()

    async def wait_closed(self, *, timeout: float | None = _UNSET) -> tuple[int, str]:
        """Waits until the server has closed; code and reason of whoever closed first."""
        timeout = self.timeout if timeout is _UNSET else timeout
        try:
            await self._connection.wait_closed(timeout)
        except TimeoutError:
            raise TestTimeout(f"the server's Close frame on {self._target}", timeout or 0) from None
        return self.close_code or 1006, self.close_reason or ""

    async def hang_up(self) -> None:
        """Hangs up without a Close frame (FIN), as a process that dies: the server sees 1006."""
        self._connection.hang_up()
        await self._running.settle()

    async def reset(self) -> None:
        """Kills the connection (RST): the server sees 1006."""
        self._connection.reset()
        await self._running.settle()

    def cut(self) -> None:
        """Pulls the cable: nothing arrives on either side, not even the end of the connection."""
        self._connection.cut()

    def stop_reading(self) -> None:
        """Reads no more: once its receive buffer is full, this is a slow client."""
        self._connection.set_reads(False)

    def resume_reading(self) -> None:
        """Reads again."""
        self._connection.set_reads(True)

    def stop_answering(self) -> None:
        """Leaves pings and Close frames unanswered, as a client that hangs."""
        self._connection.stop_answering()

    # --- as a context

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._client._running is not self._running:
            return
        with contextlib.suppress(TestTimeout) if error is not None else contextlib.nullcontext():
            await self._leave()
        if error is None:
            self._client._raise(self._running.faults.take(self.id))

    async def _leave(self) -> None:
        connection = self._connection
        connection.set_reads(True)
        if connection.is_deaf:
            connection.reset()
        elif not connection.is_over:
            await self.close()
        await asyncio.sleep(0)
        await self._running.until(lambda: not connection.is_served, LEAVE)
