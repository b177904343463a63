"""A WebSocket of a test that is a plain function."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from nexios.exceptions import WebSocketDisconnect

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from nexios.request import Headers
    from nexios.testing.async_socket import AsyncTestSocket, Bytes
    from nexios.testing.client import TestClient

__all__ = ["TestSocket"]

T = TypeVar("T")
_UNSET: Any = object()


class TestSocket:
    """A client's end of a WebSocket, from ``client.websocket_connect``. The block closes it.

    It reads by itself and answers pings, as browsers do; ``receive_ping`` and ``receive_pong``
    show what has come, up to 16 of each. Once the connection is over, receiving and sending raise
    ``WebSocketDisconnect``, or, where an exception of the handler has ended it, that exception.
    What does not come within ``timeout`` seconds raises ``TestTimeout``.

    >>> from nexios import NexiosApp
    >>> from nexios.testing import TestClient
    >>> app = NexiosApp()
    >>> @app.ws("/sum")
    ... async def sum_up(ws):
    ...     await ws.accept()
    ...     await ws.send_json(sum(await ws.receive_json()))
    ...     await ws.close(4000, "that is all")
    >>> with TestClient(app) as client, client.websocket_connect("/sum") as ws:
    ...     ws.send_json([1, 2, 3])
    ...     list(ws.iter_json()), ws.close_code, ws.close_reason
    ([6], 4000, 'that is all')
    """

    __test__ = False

    def __init__(self, client: TestClient, socket: AsyncTestSocket) -> None:
        self._client = client
        self._socket = socket

    def _run(self, awaitable: Awaitable[T]) -> T:
        return self._client.run(awaitable)

    # --- what is known of it

    @property
    def timeout(self) -> float | None:
        """The time for which it waits for the server, in seconds; `None` is without limit."""
        return self._socket.timeout

    @timeout.setter
    def timeout(self, seconds: float | None) -> None:
        self._socket.timeout = seconds

    @property
    def id(self) -> str:
        """The server's id of this connection: ``ws.id`` there."""
        return self._socket.id

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that the server picked."""
        return self._socket.subprotocol

    @property
    def response_headers(self) -> Headers:
        """The header fields of the server's 101."""
        return self._socket.response_headers

    @property
    def is_compressed(self) -> bool:
        """True if compression was agreed on."""
        return self._socket.is_compressed

    @property
    def close_code(self) -> int | None:
        """The code of whoever closed first: 1005 without a code, 1006 without a Close frame; `None` while open."""
        return self._socket.close_code

    @property
    def close_reason(self) -> str | None:
        """The reason of whoever closed first; `None` while open."""
        return self._socket.close_reason

    # --- sending: the server has seen it when the call returns, if it could

    def send(self, message: Any) -> None:
        """``str`` as text, bytes as binary, anything else as JSON."""
        self._run(self._socket.send(message))

    def send_text(self, text: str) -> None:
        """Sends a text message."""
        self._run(self._socket.send_text(text))

    def send_bytes(self, data: Bytes) -> None:
        """Sends a binary message."""
        self._run(self._socket.send_bytes(data))

    def send_json(self, value: Any) -> None:
        """Sends a value as JSON text."""
        self._run(self._socket.send_json(value))

    def send_fragments(self, parts: Sequence[str]) -> None:
        """Sends one text message in several frames."""
        self._run(self._socket.send_fragments(parts))

    def send_ping(self, payload: Bytes = b"") -> None:
        """Sends a ping; over 125 bytes raises ``ValueError``."""
        self._run(self._socket.send_ping(payload))

    def send_pong(self, payload: Bytes = b"") -> None:
        """Sends a pong that nobody has asked for."""
        self._run(self._socket.send_pong(payload))

    def send_raw(self, data: Bytes) -> None:
        """Sends bytes as they are, whatever they mean."""
        self._run(self._socket.send_raw(data))

    # --- receiving

    def receive(self, *, timeout: float | None = _UNSET) -> str | bytes:
        """The next message."""
        return self._run(self._socket.receive(**_given(timeout)))

    def receive_text(self, *, timeout: float | None = _UNSET) -> str:
        """The next message, which has to be text; a binary one raises ``WebSocketTypeError``, which has it."""
        return self._run(self._socket.receive_text(**_given(timeout)))

    def receive_bytes(self, *, timeout: float | None = _UNSET) -> bytes:
        """The next message, which has to be binary; a text raises ``WebSocketTypeError``, which has it."""
        return self._run(self._socket.receive_bytes(**_given(timeout)))

    def receive_json(self, *, timeout: float | None = _UNSET) -> Any:
        """The next message, read as JSON."""
        return self._run(self._socket.receive_json(**_given(timeout)))

    def receive_ping(self, *, timeout: float | None = _UNSET) -> bytes:
        """The payload of the oldest ping that nobody has looked at; it has been answered."""
        return self._run(self._socket.receive_ping(**_given(timeout)))

    def receive_pong(self, *, timeout: float | None = _UNSET) -> bytes:
        """The payload of the oldest pong that nobody has looked at."""
        return self._run(self._socket.receive_pong(**_given(timeout)))

    def __iter__(self) -> Iterator[str | bytes]:
        return _iterate(self.receive)

    def iter_text(self) -> Iterator[str]:
        """Text messages until the connection is over."""
        return _iterate(self.receive_text)

    def iter_bytes(self) -> Iterator[bytes]:
        """Binary messages until the connection is over."""
        return _iterate(self.receive_bytes)

    def iter_json(self) -> Iterator[Any]:
        """Messages, read as JSON, until the connection is over."""
        return _iterate(self.receive_json)

    # --- closing, and what goes wrong

    def close(self, code: int | None = 1000, reason: str = "") -> None:
        """Closes, and waits for the server's Close frame; `None` sends one without a code."""
        self._run(self._socket.close(code, reason))

    def wait_closed(self, *, timeout: float | None = _UNSET) -> tuple[int, str]:
        """Waits until the server has closed; code and reason of whoever closed first."""
        return self._run(self._socket.wait_closed(**_given(timeout)))

    def hang_up(self) -> None:
        """Hangs up without a Close frame (FIN), as a process that dies: the server sees 1006."""
        self._run(self._socket.hang_up())

    def reset(self) -> None:
        """Kills the connection (RST): the server sees 1006."""
        self._run(self._socket.reset())

    def cut(self) -> None:
        """Pulls the cable: nothing arrives on either side, not even the end of the connection.

        The server sees 1006 once its ping was not answered: ``client.advance(60)``.
        """
        self._socket.cut()

    def stop_reading(self) -> None:
        """Reads no more: once its receive buffer is full, this is a slow client."""
        self._socket.stop_reading()

    def resume_reading(self) -> None:
        """Reads again."""
        self._socket.resume_reading()

    def stop_answering(self) -> None:
        """Leaves pings and Close frames unanswered, as a client that hangs."""
        self._socket.stop_answering()

    # --- as a context

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._client._is_running:
            self._run(self._socket.__aexit__(kind, error, traceback))


def _given(timeout: float | None) -> dict[str, Any]:
    return {} if timeout is _UNSET else {"timeout": timeout}


def _iterate(receive: Callable[[], T]) -> Iterator[T]:
    try:
        while True:
            yield receive()
    except WebSocketDisconnect:
        return
