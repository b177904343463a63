"""Answers by HTTP, and the two ends that a handshake can have."""

from __future__ import annotations

import http.client
import io
import json
from dataclasses import dataclass
from typing import Any

from nexios.request import Headers

__all__ = ["Accepted", "Refused", "TestResponse"]


@dataclass(frozen=True)
class TestResponse:
    """An answer to a plain HTTP request.

    >>> from nexios import NexiosApp
    >>> from nexios.testing import TestClient
    >>> with TestClient(NexiosApp(health="/health")) as client:
    ...     response = client.get("/health")
    >>> response.status, response.headers["content-length"], response.text
    (200, '3', 'ok\\n')
    """

    __test__ = False

    status: int
    headers: Headers
    body: bytes

    @property
    def status_code(self) -> int:
        """The status, by the name that it has in other test clients."""
        return self.status

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode(errors="replace")

    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Accepted:
    """A handshake that the server has completed.

    >>> from nexios import NexiosApp
    >>> from nexios.testing import Accepted, TestClient
    >>> app = NexiosApp()
    >>> @app.ws("/ws", subprotocols=["v2"])
    ... async def handler(ws):
    ...     await ws.accept()
    >>> with TestClient(app) as client:
    ...     client.handshake("/ws", subprotocols=["v1", "v2"]).subprotocol
    'v2'
    """

    subprotocol: str | None
    headers: Headers
    status: int = 101


class Refused(TestResponse):
    """A handshake that the server has answered by HTTP.

    >>> from nexios import NexiosApp
    >>> from nexios.testing import TestClient
    >>> app = NexiosApp()
    >>> @app.ws("/ws")
    ... async def handler(ws):
    ...     await ws.reject(status=403, body="members only")
    >>> with TestClient(app) as client:
    ...     refused = client.handshake("/ws")
    >>> refused.status, refused.text
    (403, 'members only')
    """


class _Received:
    """Bytes that `http.client` reads instead of a socket."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._data)


def parse(data: bytes, method: str, ended: bool) -> TestResponse | None:
    """The answer, once all of it is there; `ended`: no more will come."""
    if b"\r\n\r\n" not in data:
        return None
    response = http.client.HTTPResponse(_Received(data), method=method)  # type: ignore[arg-type]
    response.begin()
    try:
        if response.length is None and not response.chunked and not ended:
            return None
        body = response.read()
    except http.client.IncompleteRead:
        return None
    finally:
        response.close()
    return TestResponse(response.status, Headers(response.getheaders()), body)
