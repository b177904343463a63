"""What a client raises."""

from __future__ import annotations

__all__ = ["Malformed", "NexiosError"]


class NexiosError(Exception):
    """Why an answer did not come, or was none.

    ``code`` is the server's (``forbidden``, ``not_found``, ``invalid``, ``busy``, ``unavailable``, ``failed``, or the
    application's own), or the client's: ``busy`` (too much is waiting), ``timeout``, ``disconnected`` (the connection
    ended before the answer), ``closed`` (the client is closed, or the room was left), ``expired`` (the server may have
    forgotten the key of a message: a retry could store it twice).

    >>> try:
    ...     await client.request("open", "tomato")
    ... except NexiosError as error:
    ...     error.code, error.message
    ('closed', 'say the word')
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class Malformed(Exception):
    """The server sent what is not ``nexios.v1``."""
