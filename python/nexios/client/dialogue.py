"""One connection, from the attempt to its end, by the package ``websockets``."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as dial
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage, InvalidStatus
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from nexios.client.errors import Malformed
from nexios.client.frames import Payload, parse
from nexios.client.retry import Window, is_status_retried, window_of

__all__ = ["SUBPROTOCOL", "Dialogue", "Ending", "check_url"]

SUBPROTOCOL = "nexios.v1"
_MESSAGE_BYTES_MAX = 16 << 20


@dataclass
class Ending:
    """Why a connection ended; without ``retry`` the code decides whether there is another attempt."""

    code: int
    reason: str
    retry: bool | None = None
    window: Window | None = None
    is_said: bool = False  # the peer is told, by a Close frame
    is_announced: bool = False  # the server has said `closing`
    is_refusal: bool = False


class Dialogue:
    """Dials, says hello, and passes on what comes; `end` may be called at any time."""

    def __init__(self, url: str, open_timeout: float, options: dict[str, Any]) -> None:
        self._url = url
        self._open_timeout = open_timeout
        self._options = {"max_size": _MESSAGE_BYTES_MAX, **options}
        self._connection: ClientConnection | None = None
        self._ending: Ending | None = None
        self._task: asyncio.Task[Ending] | None = None
        self._announced: Ending | None = None
        self._is_welcome = False
        self._timer: asyncio.TimerHandle | None = None

    async def run(
        self,
        offered: Callable[[], Awaitable[list[str]]],
        hello: Callable[[], Payload],
        receive: Callable[[dict[str, Any] | None, Payload], None],
        next_frame: Callable[[], Awaitable[Payload]],
    ) -> Ending:
        self._task = asyncio.create_task(self._run(offered, hello, receive, next_frame))
        try:
            await asyncio.wait([self._task])
        finally:
            self._task.cancel()  # where the one who waits is cancelled
        if self._task.cancelled():
            return self._ending or Ending(1006, "")
        ending = self._task.result()
        if self._announced is not None and self._ending is None and ending.retry is None:
            return self._announced
        return ending

    @property
    def is_over(self) -> bool:
        return self._ending is not None

    def end(self, ending: Ending) -> None:
        if self._ending is None and self._task is not None:
            self._ending = ending
            self._task.cancel()

    async def send(self, message: Payload) -> bool:
        try:
            if self._connection is None or self._ending is not None:
                return False
            await self._connection.send(message)
        except ConnectionClosed:
            return False
        return True

    async def _run(
        self,
        offered: Callable[[], Awaitable[list[str]]],
        hello: Callable[[], Payload],
        receive: Callable[[dict[str, Any] | None, Payload], None],
        next_frame: Callable[[], Awaitable[Payload]],
    ) -> Ending:
        try:
            connection = await self._dial(await offered())
        except InvalidStatus as error:
            status = error.response.status_code
            reason = f"the server refused the handshake with status {status}"
            return Ending(1006, reason, None if is_status_retried(status) else False, is_refusal=True)
        except (OSError, asyncio.TimeoutError, InvalidMessage) as error:
            return Ending(1006, str(error) or "the server did not answer in time")
        except InvalidHandshake as error:
            return Ending(1002, str(error), retry=False)
        writer: asyncio.Task[None] | None = None
        try:
            if connection.subprotocol != SUBPROTOCOL:
                raise Malformed(f"the server does not speak {SUBPROTOCOL}")
            self._connection = connection
            await connection.send(hello())
            self._expect(Ending(1006, "the server did not answer in time"))
            while not self._is_welcome:
                self._take(await connection.recv(), receive)
            self._expect(None)
            writer = asyncio.create_task(self._write(connection, next_frame))
            while True:
                self._take(await connection.recv(), receive)
        except ConnectionClosed as error:
            return Ending(error.rcvd.code, error.rcvd.reason) if error.rcvd else Ending(1006, "")
        except Malformed as error:
            await connection.close(1002, str(error))
            return Ending(1002, str(error), retry=False)
        except asyncio.CancelledError:
            if self._ending is not None and self._ending.is_said:
                await connection.close(self._ending.code, self._ending.reason)
            raise
        finally:
            self._connection = None
            self._expect(None)
            if writer is not None:
                writer.cancel()
                await asyncio.wait([writer])
            connection.transport.abort()
            await connection.wait_closed()

    async def _dial(self, protocols: list[str]) -> ClientConnection:
        offered = [Subprotocol(protocol) for protocol in protocols]
        return await dial(self._url, subprotocols=offered, open_timeout=self._open_timeout, **self._options)

    def _expect(self, otherwise: Ending | None) -> None:
        """Sets when the connection ends if nothing that was expected comes before."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        # Not by `asyncio.wait_for`, which before Python 3.12 may lose that its task is cancelled.
        if otherwise is not None:
            self._timer = asyncio.get_running_loop().call_later(self._open_timeout, self.end, otherwise)

    def _take(self, message: Payload, receive: Callable[[dict[str, Any] | None, Payload], None]) -> None:
        header, payload = parse(message)
        if header is not None:
            self._is_welcome |= header.get("type") == "welcome"
            if header.get("type") == "closing":
                self._announce(header)
        receive(header, payload)

    def _announce(self, header: dict[str, Any]) -> None:
        code, retry_ms = header.get("code"), header.get("retry_ms")
        self._announced = Ending(
            code if isinstance(code, int) else 1005,
            str(header.get("reason", "")),
            retry=retry_ms is not None,
            window=window_of(retry_ms),
            is_announced=True,
        )
        self._expect(self._announced)  # the Close frame follows

    @staticmethod
    async def _write(connection: ClientConnection, next_frame: Callable[[], Awaitable[Payload]]) -> None:
        try:
            while True:
                await connection.send(await next_frame())
        except ConnectionClosed:
            pass  # the one who reads says why


def check_url(url: str) -> None:
    """Raises what is wrong with an address: ``websockets.InvalidURI``."""
    parse_uri(url)
