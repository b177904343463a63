"""Limits on how often clients send, or how often they connect."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Literal, overload

from nexios import _nexios

if TYPE_CHECKING:
    from typing_extensions import Self

    from nexios._nexios import WebSocket

__all__ = ["RateLimit"]

Key = Literal["connection", "host"]
OnExcess = Literal["close", "drop", "wait"]


class RateLimit(_nexios.RateLimit):
    """A middleware that limits messages, or handshakes; one object is one limit.

    ``RateLimit(messages=10, per=1.0, burst=30)`` counts the messages of each connection,
    ``RateLimit(handshakes=5, per=10.0)`` the handshakes of each host. ``key`` may be
    ``"connection"``, ``"host"`` or a function of ``ws``. Over the limit ``on_excess`` decides:
    ``"close"`` (1008 "Rate limit exceeded"), ``"drop"`` (a handshake gets 429) or ``"wait"``.

    >>> @app.ws("/limited", middleware=[RateLimit(messages=1, per=60.0)])
    ... async def limited(ws):
    ...     await ws.accept()
    ...     async for message in ws:
    ...         await ws.send(message)
    >>> with TestClient(app) as test, test.websocket_connect("/limited") as client:
    ...     client.send_text("one")
    ...     client.send_text("two")
    ...     list(client), client.close_code, client.close_reason
    (['one'], 1008, 'Rate limit exceeded')
    """

    _key: Key | Callable[[WebSocket], str]
    _handshakes: bool

    @overload
    def __new__(
        cls,
        *,
        messages: int,
        per: float = ...,
        burst: int | None = ...,
        key: Key | Callable[[WebSocket], str] | None = ...,
        on_excess: OnExcess = ...,
    ) -> Self: ...
    @overload
    def __new__(
        cls,
        *,
        handshakes: int,
        per: float = ...,
        burst: int | None = ...,
        key: Key | Callable[[WebSocket], str] | None = ...,
        on_excess: OnExcess = ...,
    ) -> Self: ...
    def __new__(
        cls,
        *,
        messages: int | None = None,
        handshakes: int | None = None,
        per: float = 1.0,
        burst: int | None = None,
        key: Key | Callable[[WebSocket], str] | None = None,
        on_excess: OnExcess = "close",
    ) -> Self:
        if (messages is None) == (handshakes is None):
            raise TypeError("a rate limit counts either messages= or handshakes=")
        count = messages if messages is not None else handshakes
        assert count is not None
        if count < 1 or (burst is not None and burst < 1) or per <= 0:
            raise ValueError("a rate limit counts at least 1 in more than 0 seconds")
        if not (key in (None, "connection", "host") or callable(key)):
            raise ValueError('key: expected "connection", "host" or a function of ws')
        limit = super().__new__(cls, handshakes is not None, count, per, burst or count, on_excess, key == "host")
        limit._handshakes = handshakes is not None
        limit._key = key if key is not None else ("host" if limit._handshakes else "connection")
        return limit

    def _name(self, ws: WebSocket) -> str | None:
        if callable(self._key):
            return str(self._key(ws))
        return ws.id if self._handshakes and self._key == "connection" else None

    async def __call__(self, ws: WebSocket, next: Callable[[WebSocket], Awaitable[Any]]) -> Any:
        if not self._handshakes:
            self._limit_messages(ws, self._name(ws))
        elif not await self._admits(ws, self._name(ws)):
            return None
        return await next(ws)
