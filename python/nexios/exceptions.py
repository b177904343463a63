"""Exceptions that handlers raise, and that are raised in them."""

from __future__ import annotations

__all__ = [
    "BrokerError",
    "OutboxFull",
    "PresenceError",
    "PublishUnconfirmed",
    "RequestError",
    "WebSocketDisconnect",
    "WebSocketException",
    "WebSocketTypeError",
]


class WebSocketException(Exception):
    """Closes the connection with a code and a reason; ``str(exc)`` is the reason.

    >>> exc = WebSocketException(1008, "members only")
    >>> (exc.code, str(exc))
    (1008, 'members only')
    """

    def __init__(self, code: int = 1008, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class WebSocketTypeError(WebSocketException):
    """The next message is of the other kind; unhandled it closes 1003, caught it loses nothing.

    >>> await client.send_bytes(b"data")
    >>> try:
    ...     await ws.receive_text()
    ... except WebSocketTypeError as error:
    ...     print(error.message)
    b'data'
    """

    def __init__(self, message: str | bytes, reason: str = "") -> None:
        super().__init__(1003, reason)
        self.args = (message, reason)
        self.message = message


class WebSocketDisconnect(Exception):
    """The connection is over: the code and reason of whoever closed first.

    1005 stands for a Close frame without a code, 1006 for none at all.

    >>> await client.close(4000, "bye")
    >>> try:
    ...     await ws.receive_text()
    ... except WebSocketDisconnect as gone:
    ...     print(gone.code, gone.reason)
    4000 bye
    """

    def __init__(self, code: int = 1000, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return f"disconnected with code {self.code}" + (f": {self.reason}" if self.reason else "")


class OutboxFull(RuntimeError):
    """Raised by a ``Handle`` if the client reads too slowly, and its waiting messages have reached the limit.

    >>> client.stop_reading()
    >>> try:
    ...     while True:
    ...         ws.handle().send_bytes(bytes(100_000))
    ... except OutboxFull:
    ...     print("too slow")
    too slow
    """


class PresenceError(ValueError):
    """A user cannot be tracked: not in the room, too much data, or too many users.

    >>> try:
    ...     await app.room("general").track(ws)
    ... except PresenceError as error:
    ...     print(error)
    the connection is not in the room "general": join it first
    """


class BrokerError(ConnectionError):
    """The broker cannot be reached, or has not taken a message.

    >>> broker = Broker("unix:/nowhere/hub.sock", connect_timeout=0.1)
    >>> try:
    ...     Publisher(broker).app.broadcast("hello")
    ... except BrokerError as error:
    ...     print(error)
    cannot reach the broker unix:/nowhere/hub.sock: No such file or directory (os error 2)
    """


class PublishUnconfirmed(BrokerError):
    """A message may have been sent: the broker has not confirmed it.

    Sent again it may come twice, unless a room with a history stores it under an ``idempotency_key``. Any other
    ``BrokerError`` of a publisher says that the message was not sent.

    >>> try:
    ...     raise PublishUnconfirmed("the message may have been sent")
    ... except BrokerError as error:
    ...     print(error)
    the message may have been sent
    """


class RequestError(Exception):
    """An answer to a client of ``nexios.v1`` that is an error: a code for programs, a message for people.

    >>> @app.on_request("open")
    ... async def open_door(ws, word):
    ...     if word != "sesame":
    ...         raise RequestError("closed", "say the word")
    ...     return "come in"
    """

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}" if self.message else self.code
