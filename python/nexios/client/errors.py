"""Errors of a client."""

from __future__ import annotations

__all__ = ["Malformed", "NexiosError"]


class NexiosError(Exception):
    """The failure of a call: a refusal of the server, or a missing answer.

    ``code`` is the server's (``forbidden``, ``not_found``, ``invalid``, ``busy``, ``unavailable``, ``failed``, or the
    application's own), or the client's: ``busy`` (too much is waiting), ``too_big`` (over the server's limit),
    ``timeout``, ``disconnected`` (the connection ended before the answer), ``rejected`` (the server closed the
    connection on which a message was sent, and blamed what it had received), ``closed`` (the client is closed, or the
    room was left), ``expired`` (five minutes after the call).

    ``key`` is that of a message which was to be published. ``maybe_stored``: the call was sent, and its outcome is not
    known; a retry with the same key is safe in rooms with history. Otherwise nothing was done.

    >>> try:
    ...     await client.request("open", "tomato")
    ... except NexiosError as error:
    ...     error.code, error.message
    ('closed', 'say the word')
    """

    def __init__(self, code: str, message: str, *, key: str | None = None, maybe_stored: bool = False) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.key = key
        self.maybe_stored = maybe_stored

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class Malformed(Exception):
    """The server sent a frame that is not valid in ``nexios.v1``."""
